//! Loading the committed BPF objects. Nothing is pinned: programs, maps and attachments live as long as the [`Object`].

use crate::error::OpenError;
use crate::sys::Mapping;
use aya::maps::{Map, MapData, MapError};
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use std::error::Error;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

const NEEDS: &str = "CAP_BPF and CAP_NET_ADMIN in the initial user namespace";

/// How long an interface may stay taken by a predecessor that is going: the kernel frees it some time after the last descriptor.
pub(crate) const BUSY_MAX: Duration = Duration::from_millis(500);

/// An object file in the kernel, with one XDP program.
#[derive(Debug)]
pub(crate) struct Object {
    ebpf: Ebpf,
    program: &'static str,
}

impl Object {
    /// Loads the maps and the program called `program`; `set_up` sets constants and sizes first.
    pub(crate) fn load<'a>(
        bytes: &[u8],
        program: &'static str,
        set_up: impl FnOnce(&mut EbpfLoader<'a>),
    ) -> Result<Self, OpenError> {
        let mut object = Self { ebpf: load_maps(bytes, set_up)?, program };
        object.xdp_mut()?.load().map_err(|error| open_error("load an XDP program", error))?;
        Ok(object)
    }

    /// Attaches the program to the driver of an interface, until this is dropped.
    pub(crate) fn attach(&mut self, interface_index: u32) -> Result<(), OpenError> {
        let what = "attach an XDP program to the interface's driver";
        let program = self.xdp_mut()?;
        retry_while_busy(what, || match program.attach_to_if_index(interface_index, XdpMode::Driver) {
            Ok(_) => Ok(()),
            Err(error) => Err(io_error(&error).unwrap_or_else(|| io::Error::other(error))),
        })
    }

    pub(crate) fn xdp(&self) -> Result<&Xdp, OpenError> {
        let program = self.ebpf.program(self.program).and_then(|program| program.try_into().ok());
        program.ok_or(OpenError::Options { reason: "the BPF object lacks its program" })
    }

    /// All that was loaded.
    pub(crate) fn ebpf(&self) -> &Ebpf {
        &self.ebpf
    }

    /// The same.
    pub(crate) fn ebpf_mut(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    fn xdp_mut(&mut self) -> Result<&mut Xdp, OpenError> {
        let program = self.ebpf.program_mut(self.program).and_then(|program| program.try_into().ok());
        program.ok_or(OpenError::Options { reason: "the BPF object lacks its program" })
    }

    /// The map of that name, as the type wanted.
    pub(crate) fn map_mut<'a, T>(&'a mut self, name: &str) -> Result<T, OpenError>
    where
        T: TryFrom<&'a mut Map, Error = MapError>,
    {
        let map = self.ebpf.map_mut(name).ok_or(OpenError::Options { reason: "the BPF object lacks a map" })?;
        T::try_from(map).map_err(|error| open_error("use a BPF map", error))
    }

    /// Maps the memory of an array made with BPF_F_MMAPABLE: `len` bytes.
    pub(crate) fn map_memory(&self, name: &str, len: usize) -> Result<Mapping, OpenError> {
        map_memory(&self.ebpf, name, len)
    }
}

/// Loads an object's maps, and no program yet; `set_up` sets constants and sizes first.
pub(crate) fn load_maps<'a>(bytes: &[u8], set_up: impl FnOnce(&mut EbpfLoader<'a>)) -> Result<Ebpf, OpenError> {
    let mut loader = EbpfLoader::new();
    loader.btf(None);
    set_up(&mut loader);
    loader.load(bytes).map_err(|error| open_error("load BPF maps", error))
}

/// Maps the memory of an array made with BPF_F_MMAPABLE: `len` bytes.
pub(crate) fn map_memory(ebpf: &Ebpf, name: &str, len: usize) -> Result<Mapping, OpenError> {
    let fd = match ebpf.map(name) {
        Some(Map::Array(data)) => map_fd(data),
        _ => return Err(OpenError::Options { reason: "the BPF object lacks an array" }),
    };
    Mapping::new(fd, len, 0).map_err(|source| OpenError::System { what: "map a BPF array", source })
}

fn map_fd(data: &MapData) -> BorrowedFd<'_> {
    data.fd().as_fd()
}

/// Calls `try_once` until it succeeds, fails with something other than EBUSY, or [`BUSY_MAX`] is over.
pub(crate) fn retry_while_busy(
    what: &'static str,
    mut try_once: impl FnMut() -> io::Result<()>,
) -> Result<(), OpenError> {
    let start = Instant::now();
    loop {
        match try_once() {
            Ok(()) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && start.elapsed() < BUSY_MAX => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(source) => return Err(OpenError::from_io(what, NEEDS, source)),
        }
    }
}

/// Sorts an error of the loader by the kernel's answer in it.
pub(crate) fn open_error(what: &'static str, error: impl Error + Send + Sync + 'static) -> OpenError {
    match io_error(&error) {
        Some(source) => OpenError::from_io(what, NEEDS, source),
        None => OpenError::System { what, source: io::Error::other(error) },
    }
}

/// The kernel's answer, somewhere among the causes.
pub(crate) fn io_error(error: &(dyn Error + 'static)) -> Option<io::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let errno = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        if let Some(errno) = errno {
            return Some(io::Error::from_raw_os_error(errno));
        }
        cause = error.source();
    }
    None
}

/// The kernel's answer to a system call of a loaded program.
pub(crate) fn program_io_error(error: ProgramError) -> io::Error {
    io_error(&error).unwrap_or_else(|| io::Error::other(error))
}
