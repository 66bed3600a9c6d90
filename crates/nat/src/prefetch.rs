//! Two things that safe Rust has no word for: to ask for a cache line, and to compare sixteen bytes at once.
//!
//! Reading each line ahead instead (so that out-of-order execution overlaps the misses) was measured beside it: 30 to 40 % slower at a
//! million mappings, because reads have to retire in order and prefetches do not. Comparing the bytes of a bucket eight at a time in a
//! general register takes twice the instructions and a branch that goes wrong for every eighth packet.
#![expect(
    unsafe_code,
    reason = "instructions that every x86-64 processor has: one a hint, the others without access to memory"
)]

/// Asks for the cache line where an element begins. One that is not there does no harm.
#[inline(always)]
pub(crate) fn prefetch<T>(slice: &[T], index: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction exists on every x86-64 processor, and a prefetch of any address is allowed: it reads nothing that the
        // program can see, and cannot fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(slice.as_ptr().wrapping_add(index).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (slice, index);
}

/// A bit for each of sixteen bytes, the lowest one first, set if it is `byte`.
#[inline(always)]
pub(crate) fn equal_bytes([low, high]: [u64; 2], byte: u8) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi64x};
        let everywhere = (u64::from(byte) * 0x0101_0101_0101_0101).cast_signed();
        // SAFETY: SSE2 is part of x86-64, and nothing here goes to memory.
        let mask = unsafe {
            let bytes = _mm_set_epi64x(high.cast_signed(), low.cast_signed());
            _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi64x(everywhere)))
        };
        mask.cast_unsigned()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let bytes = [low, high].into_iter().flat_map(u64::to_le_bytes);
        bytes.zip(0..).fold(0, |mask, (other, at)| mask | u32::from(other == byte) << at)
    }
}
