//! Two interfaces joined by an XDP program: each frame that arrives at one leaves by the other as it came, and no process sees it.
//! That is the bound of whatever forwards between them. The program can stamp frames, too.
//!
//! Needs what [`crate::ring`] needs.

use crate::OpenError;
use crate::bpf::{Object, open_error};
use crate::kernel_tap::{KernelTap, Stamps};
use crate::passage::{Passage, Sample};
use crate::sys::Interface;
use aya::maps::xdp::DevMap;

static OBJECT: &[u8] = aya::include_bytes_aligned!("../bpf/redirect.o");

/// Two joined interfaces, until it is dropped.
#[derive(Debug)]
pub struct Redirect {
    // Declared before the object: unmapped before the maps go.
    stamps: Stamps,
    object: Object,
}

impl Redirect {
    /// Joins two interfaces of the calling thread's network namespace.
    ///
    /// # Errors
    /// As for [`crate::ring::open`].
    pub fn between(first: &str, second: &str) -> Result<Self, OpenError> {
        let interfaces = [Interface::find(first)?, Interface::find(second)?];
        let first = interfaces[0].index();
        let mut object = Object::load(OBJECT, "natrig_redirect", |loader| {
            Stamps::set_up(loader);
            loader.override_global("FIRST_IFINDEX", &first, true);
        })?;
        let mut ports: DevMap<_> = object.map_mut("ports")?;
        for (port, interface) in interfaces.iter().enumerate() {
            let set = ports.set(port as u32, interface.index(), None, 0);
            set.map_err(|error| open_error("name an interface to send to", error))?;
        }
        for interface in &interfaces {
            object.attach(interface.index())?;
        }
        Ok(Self { stamps: Stamps::of(object.ebpf_mut())?, object })
    }
}

impl KernelTap for Redirect {
    fn begin(&mut self, sample: Option<Sample>) -> Result<(), OpenError> {
        self.stamps.begin(sample);
        Ok(())
    }

    fn passages(&self) -> Vec<Passage> {
        self.stamps.passages()
    }

    fn clock_off_ns(&self) -> Result<u64, OpenError> {
        self.stamps.clock_off_ns(self.object.ebpf())
    }
}
