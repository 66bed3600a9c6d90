//! Stamps of frames that no process sees: programs at the two interfaces of a box note when a sample of the frames came and left.
//!
//! Needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN in the initial user namespace. Nothing is pinned: when the process ends, the programs are gone.

mod stamps;

use crate::OpenError;
use crate::bpf::{self, open_error, program_io_error};
use crate::passage::{Passage, Sample};
use aya::Ebpf;
use aya::programs::tc::{SchedClassifierLinkId, TcAttachOptions};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use std::fmt::Debug;

pub(crate) use stamps::Stamps;

/// The most stamps that a tap has room for, each way.
pub const STAMPS_MAX: u32 = 1 << 16;

/// A box whose frames the kernel stamps as they come in on the way from its first interface to its second, and as they leave.
pub trait KernelTap: Send + Debug {
    /// Starts over: stamps the frames of `sample`, or none, up to [`STAMPS_MAX`]. In the box's network namespace.
    ///
    /// # Errors
    /// What the kernel says.
    fn begin(&mut self, sample: Option<Sample>) -> Result<(), OpenError>;

    /// The stamps since then of frames that came and left.
    fn passages(&self) -> Vec<Passage>;

    /// By how much the clock of the stamps is off from [`crate::clock::now_ns`], at least, in nanoseconds: a process may live in a time
    /// namespace, a program does not.
    ///
    /// # Errors
    /// What the kernel says.
    fn clock_off_ns(&self) -> Result<u64, OpenError>;
}

static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/tap.o");
const NEEDS: &str = "CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN in the initial user namespace";
const ATTACH: &str = "attach a program to what passes an interface, which takes Linux 6.6 or later";

/// Where a program stands: its name in the object, and at which end of an interface.
const SIDES: [(&str, TcAttachType); 2] =
    [("natrig_tap_in", TcAttachType::Ingress), ("natrig_tap_out", TcAttachType::Egress)];

/// A tap at a box that the kernel forwards at. Its programs hang at the interfaces only while frames are to be stamped.
#[derive(Debug)]
pub struct ForwardingTap {
    // Declared before the object: unmapped before the maps go.
    stamps: Stamps,
    ebpf: Ebpf,
    interfaces: [String; 2],
    attached: Vec<(&'static str, SchedClassifierLinkId)>,
}

impl ForwardingTap {
    /// For frames from one interface of the calling thread's network namespace to another.
    ///
    /// # Errors
    /// [`OpenError::NotPermitted`] without the capabilities; others where the kernel is older than Linux 6.6.
    pub fn between(first: &str, second: &str) -> Result<Self, OpenError> {
        let mut ebpf = bpf::load_maps(OBJECT, Stamps::set_up)?;
        for (name, _) in SIDES {
            classifier(&mut ebpf, name)?.load().map_err(|error| open_error("load a program that stamps", error))?;
        }
        let stamps = Stamps::of(&mut ebpf)?;
        let mut tap = Self { stamps, ebpf, interfaces: [first, second].map(str::to_owned), attached: Vec::new() };
        // Whether the kernel can is to be known now.
        tap.attach()?;
        tap.detach()?;
        Ok(tap)
    }

    fn attach(&mut self) -> Result<(), OpenError> {
        if !self.attached.is_empty() {
            return Ok(());
        }
        for ((name, end), interface) in SIDES.into_iter().zip(&self.interfaces) {
            let options = TcAttachOptions::TcxOrder(LinkOrder::default());
            let link = classifier(&mut self.ebpf, name)?.attach_with_options(interface, end, options);
            let refused = |error| OpenError::from_io(ATTACH, NEEDS, program_io_error(error));
            self.attached.push((name, link.map_err(refused)?));
        }
        Ok(())
    }

    fn detach(&mut self) -> Result<(), OpenError> {
        for (name, link) in self.attached.drain(..) {
            let detached = classifier(&mut self.ebpf, name)?.detach(link);
            detached.map_err(|error| open_error("take a program from an interface", error))?;
        }
        Ok(())
    }
}

impl KernelTap for ForwardingTap {
    fn begin(&mut self, sample: Option<Sample>) -> Result<(), OpenError> {
        self.stamps.begin(sample);
        if sample.is_some() { self.attach() } else { self.detach() }
    }

    fn passages(&self) -> Vec<Passage> {
        self.stamps.passages()
    }

    fn clock_off_ns(&self) -> Result<u64, OpenError> {
        self.stamps.clock_off_ns(&self.ebpf)
    }
}

fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier, OpenError> {
    let program = ebpf.program_mut(name).and_then(|program| program.try_into().ok());
    program.ok_or(OpenError::Options { reason: "the BPF object lacks its program" })
}
