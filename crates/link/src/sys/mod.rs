//! The few raw system calls that several links share, behind safe functions.

mod interface;

use crate::error::OpenError;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

pub(crate) use interface::{Interface, StateWatch};

/// Makes a non-blocking socket that is closed on exec.
pub(crate) fn socket(domain: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: socket(2) takes no pointers.
    let fd = unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets a socket option to the bytes of `value`; `T` is the C struct or integer that the option wants.
pub(crate) fn set_option<T: Copy>(fd: BorrowedFd<'_>, level: i32, name: i32, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and length describe `value`, which outlives the call; the kernel only reads it.
    let answer = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    check(answer)
}

/// Reads a socket option into a `T` made by `zeroed`, the all-zero value of a C struct or integer.
pub(crate) fn get_option<T: Copy>(fd: BorrowedFd<'_>, level: i32, name: i32, zeroed: T) -> io::Result<T> {
    let mut value = zeroed;
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, the size of `value`; every type this crate passes is plain integers, for which
    // any bytes are valid.
    let answer =
        unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, std::ptr::from_mut(&mut value).cast(), &raw mut len) };
    check(answer).map(|()| value)
}

/// The index of an interface in the network namespace of the calling thread.
pub(crate) fn interface_index(interface: &str) -> Result<u32, OpenError> {
    let missing = || OpenError::NoSuchInterface { interface: interface.to_owned() };
    let name = CString::new(interface).map_err(|_| missing())?;
    // SAFETY: `name` is a C string that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(missing()),
        index => Ok(index),
    }
}

/// The error that the kernel has kept for this socket, taken from it.
pub(crate) fn pending_error(fd: BorrowedFd<'_>) -> Option<i32> {
    match get_option(fd, libc::SOL_SOCKET, libc::SO_ERROR, 0i32) {
        Ok(0) | Err(_) => None,
        Ok(errno) => Some(errno),
    }
}

/// Gives a thread a policy and a priority; 0 is the calling one.
pub(crate) fn set_scheduler(thread: u32, policy: i32, priority: i32) -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: the kernel only reads `parameter`, which outlives the call.
    check(unsafe { libc::sched_setscheduler(thread.cast_signed(), policy, &raw const parameter) })
}

/// Turns the return value of a call that answers zero or -1 into a result.
pub(crate) fn check(answer: i32) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Memory mapped readable and writable, unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread; what may be touched when is a matter of the rings inside it.
unsafe impl Send for Mapping {}
// SAFETY: as above; `Mapping` itself only hands out its address.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of fresh memory, zeroed, in huge pages where the system gives some, and faulted in at once.
    pub(crate) fn anonymous(len: usize) -> io::Result<Self> {
        let mapping = Self::map(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)?;
        for advice in [libc::MADV_HUGEPAGE, libc::MADV_POPULATE_WRITE] {
            // SAFETY: the range is the mapping just made. Both are wishes: where the kernel does not know them, pages are small, or
            // come when they are first touched.
            unsafe { libc::madvise(mapping.start.as_ptr().cast(), len, advice) };
        }
        Ok(mapping)
    }

    /// Maps `len` bytes of `fd` from `offset`, faulted in at once so that no page fault falls into a measurement.
    pub(crate) fn new(fd: BorrowedFd<'_>, len: usize, offset: i64) -> io::Result<Self> {
        Self::map(len, libc::MAP_SHARED | libc::MAP_POPULATE, fd.as_raw_fd(), offset)
    }

    fn map(len: usize, flags: i32, fd: i32, offset: i64) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that Rust knows of.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        match NonNull::new(start.cast()) {
            Some(start) => Ok(Self { start, len }),
            None => Err(io::Error::other("mapped at address zero")),
        }
    }

    /// The mapping's first byte; `len` bytes from here are readable and writable while `self` lives.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that mmap returned; whoever borrowed from it did so through `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
