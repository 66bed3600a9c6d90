//! Processors that have no such registers.

use super::{Batch, LANES};
use crate::Verdict;
use crate::index::Index;
use crate::ordinary::Clocks;
use crate::session::Session;
use crate::table::Table;
use core::convert::Infallible;
use core::ops::Range;
use natrig_wire::Frame;

/// There is none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lanes(Infallible);

impl Lanes {
    pub(crate) const fn detect() -> Option<Self> {
        None
    }

    pub(crate) fn read<const OUT: bool>(
        self,
        _: &[[Frame<'_>; LANES]],
        _: &[Verdict],
        _: usize,
        _: &Table,
        _: &mut Batch,
    ) {
        match self.0 {}
    }

    pub(crate) fn look_up(self, _: &Index, _: &[Session], _: Range<usize>, _: &mut Batch) -> u32 {
        match self.0 {}
    }

    pub(crate) fn translate<const OUT: bool>(
        self,
        _: &mut [[Frame<'_>; LANES]],
        _: &[[u32; LANES]],
        _: &[u8],
        _: &mut [Session],
        _: &Clocks,
    ) -> usize {
        match self.0 {}
    }
}
