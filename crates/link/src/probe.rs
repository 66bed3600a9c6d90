//! Which kinds of link this process can make here.

use crate::packet::socket;
use crate::{LinkKind, OpenError, ring, xdp};

/// Whether links of that kind can be made in the network namespace of the calling thread, as far as can be told without an
/// interface: the privileges are there, the kernel knows the sockets, programs and calls. Takes milliseconds and leaves nothing.
///
/// # Errors
/// Why not.
pub fn available(kind: LinkKind) -> Result<(), OpenError> {
    match kind {
        LinkKind::Memory => Ok(()),
        LinkKind::Packet | LinkKind::Pnet => socket::available(),
        LinkKind::Xdp => xdp::available(),
        LinkKind::Ring => ring::available(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_always_there() {
        assert!(available(LinkKind::Memory).is_ok());
    }
}
