//! What the machine offers beyond plain code: prefetches, wide vectors, large pages. The one
//! place of this crate with `unsafe`.
//!
//! Plain early loads were measured instead of prefetches: a load that misses keeps its place in
//! the reorder buffer, so few run ahead, and a batched lookup among 1 M flows took 95 ns instead
//! of 26.
#![allow(unsafe_code)]

/// Brings the line that holds `place` near, some time soon. Has no effect a program can see.
#[inline(always)]
pub(crate) fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let line = std::ptr::from_ref(place).cast::<i8>();
        // SAFETY: a prefetch reads and writes no memory; the address is that of a live reference.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = place;
    }
}

/// Asks for large pages behind memory that is read at random: one of 1 M flows is then found in
/// 22 ns instead of 27, for want of page walks. A hint, and only for whole large pages.
#[cfg(not(loom))]
pub(crate) fn prefer_large_pages<T>(memory: &[T]) {
    #[cfg(target_os = "linux")]
    {
        const LARGE: usize = 2 << 20;
        let from = memory.as_ptr().addr();
        let start = from.next_multiple_of(LARGE);
        let end = (from + size_of_val(memory)) / LARGE * LARGE;
        if start < end {
            let first = memory.as_ptr().cast::<u8>().wrapping_add(start - from);
            // SAFETY: the range lies within memory that is borrowed here, and MADV_HUGEPAGE
            // changes how it is mapped, never what is in it. A refusal is of no consequence.
            unsafe { libc::madvise(first.cast_mut().cast(), end - start, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = memory;
    }
}

/// Lanes of a comparison.
pub(crate) const LANES: usize = 8;

/// Comparisons of one value with several side by side. Bit `i` of a result is lane `i`'s.
pub trait Lanes: Copy {
    /// Where the value has the bits the mask asks for.
    fn agree32(self, value: u32, with: &[u32; LANES], mask: &[u32; LANES]) -> u32;
    /// Where the value has the bits the mask asks for.
    fn agree8(self, value: u8, with: &[u8; LANES], mask: &[u8; LANES]) -> u32;
    /// Where the value is at most `span` above `low`.
    fn within(self, value: u16, low: &[u16; LANES], span: &[u16; LANES]) -> u32;
    /// How many of the first 30 are less than the value.
    fn less_of_30(self, value: u16, than: &[u16; 32]) -> u32;
}

/// Work to be compiled for several processors. `run` must be `#[inline(always)]`, as must what
/// it calls for its loops.
pub(crate) trait Kernel {
    /// Does the work.
    fn run(self, lanes: impl Lanes);
}

/// Runs the work with the widest vectors it gains from and this processor has. (AVX-512 gained
/// nothing: the compiler's use of its masks was slower, 25 ns a packet instead of 22.)
#[inline]
pub(crate) fn widest(kernel: impl Kernel) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt")
        {
            // SAFETY: the processor has the features, as just asked.
            return unsafe { x86::with_avx2(kernel) };
        }
    }
    kernel.run(Plain);
}

/// The comparisons in plain code, and what they mean.
#[derive(Clone, Copy)]
pub(crate) struct Plain;

impl Lanes for Plain {
    #[inline(always)]
    fn agree32(self, value: u32, with: &[u32; LANES], mask: &[u32; LANES]) -> u32 {
        bits(|i| (value ^ with[i]) & mask[i] == 0)
    }

    #[inline(always)]
    fn agree8(self, value: u8, with: &[u8; LANES], mask: &[u8; LANES]) -> u32 {
        bits(|i| (value ^ with[i]) & mask[i] == 0)
    }

    #[inline(always)]
    fn within(self, value: u16, low: &[u16; LANES], span: &[u16; LANES]) -> u32 {
        bits(|i| value.wrapping_sub(low[i]) <= span[i])
    }

    #[inline(always)]
    fn less_of_30(self, value: u16, than: &[u16; 32]) -> u32 {
        than[..30].iter().map(|&end| u32::from(end < value)).sum()
    }
}

/// One bit a lane.
#[inline(always)]
pub(crate) fn bits(lane: impl Fn(usize) -> bool) -> u32 {
    (0..LANES).fold(0, |bits, i| bits | u32::from(lane(i)) << i)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Kernel, LANES, Lanes};

    /// The comparisons with AVX2. Only [`with_avx2`] makes one.
    #[derive(Clone, Copy)]
    struct Avx2(());

    #[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
    pub(super) fn with_avx2(kernel: impl Kernel) {
        kernel.run(Avx2(()));
    }

    impl Lanes for Avx2 {
        #[inline(always)]
        fn agree32(self, value: u32, with: &[u32; LANES], mask: &[u32; LANES]) -> u32 {
            // SAFETY: `self` exists only where the processor has AVX2.
            unsafe { agree32(value, with, mask) }
        }

        #[inline(always)]
        fn agree8(self, value: u8, with: &[u8; LANES], mask: &[u8; LANES]) -> u32 {
            // SAFETY: `self` exists only where the processor has AVX2.
            unsafe { agree8(value, with, mask) }
        }

        #[inline(always)]
        fn within(self, value: u16, low: &[u16; LANES], span: &[u16; LANES]) -> u32 {
            // SAFETY: `self` exists only where the processor has AVX2.
            unsafe { within(value, low, span) }
        }

        #[inline(always)]
        fn less_of_30(self, value: u16, than: &[u16; 32]) -> u32 {
            // SAFETY: `self` exists only where the processor has AVX2 and POPCNT.
            unsafe { less_of_30(value, than) }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn agree32(value: u32, with: &[u32; LANES], mask: &[u32; LANES]) -> u32 {
        // SAFETY: both arrays have 32 bytes, and the loads ask for no alignment.
        let (with, mask) = unsafe {
            (
                _mm256_loadu_si256(with.as_ptr().cast()),
                _mm256_loadu_si256(mask.as_ptr().cast()),
            )
        };
        let differ = _mm256_xor_si256(_mm256_set1_epi32(value.cast_signed()), with);
        let agree = _mm256_cmpeq_epi32(_mm256_and_si256(differ, mask), _mm256_setzero_si256());
        _mm256_movemask_ps(_mm256_castsi256_ps(agree)).cast_unsigned()
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn agree8(value: u8, with: &[u8; LANES], mask: &[u8; LANES]) -> u32 {
        let with = _mm_cvtsi64_si128(i64::from_le_bytes(*with));
        let mask = _mm_cvtsi64_si128(i64::from_le_bytes(*mask));
        let differ = _mm_xor_si128(_mm_set1_epi8(value.cast_signed()), with);
        let agree = _mm_cmpeq_epi8(_mm_and_si128(differ, mask), _mm_setzero_si128());
        _mm_movemask_epi8(agree).cast_unsigned() & 0xff
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn within(value: u16, low: &[u16; LANES], span: &[u16; LANES]) -> u32 {
        // SAFETY: both arrays have 16 bytes, and the loads ask for no alignment.
        let (low, span) = unsafe {
            (
                _mm_loadu_si128(low.as_ptr().cast()),
                _mm_loadu_si128(span.as_ptr().cast()),
            )
        };
        let above = _mm_sub_epi16(_mm_set1_epi16(value.cast_signed()), low);
        let within = _mm_cmpeq_epi16(_mm_subs_epu16(above, span), _mm_setzero_si128());
        _mm_movemask_epi8(_mm_packs_epi16(within, _mm_setzero_si128())).cast_unsigned()
    }

    #[inline]
    #[target_feature(enable = "avx2,popcnt")]
    fn less_of_30(value: u16, than: &[u16; 32]) -> u32 {
        // SAFETY: the array has 64 bytes, and the loads ask for no alignment.
        let (first, second) = unsafe {
            let lanes = than.as_ptr().cast::<__m256i>();
            (_mm256_loadu_si256(lanes), _mm256_loadu_si256(lanes.add(1)))
        };
        let value = _mm256_set1_epi16(value.cast_signed());
        let zero = _mm256_setzero_si256();
        let first = _mm256_cmpeq_epi16(_mm256_subs_epu16(value, first), zero);
        let second = _mm256_cmpeq_epi16(_mm256_subs_epu16(value, second), zero);
        // The pack mixes the lanes, but leaves the last two of the second half last.
        let not_less = _mm256_movemask_epi8(_mm256_packs_epi16(first, second)).cast_unsigned();
        30 - (not_less & 0x3fff_ffff).count_ones()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Compare {
        values: (u32, u8, u16),
        arrays: ([u32; LANES], [u32; LANES], [u8; LANES], [u8; LANES]),
        ports: ([u16; LANES], [u16; LANES], [u16; 32]),
    }

    impl Kernel for Compare {
        #[inline(always)]
        fn run(self, lanes: impl Lanes) {
            let (value, small, port) = self.values;
            let (with, mask, with8, mask8) = &self.arrays;
            let (low, span, ends) = &self.ports;
            assert_eq!(
                lanes.agree32(value, with, mask),
                Plain.agree32(value, with, mask)
            );
            assert_eq!(
                lanes.agree8(small, with8, mask8),
                Plain.agree8(small, with8, mask8)
            );
            assert_eq!(lanes.within(port, low, span), Plain.within(port, low, span));
            assert_eq!(lanes.less_of_30(port, ends), Plain.less_of_30(port, ends));
        }
    }

    proptest! {
        #[test]
        fn vectors_mean_what_plain_code_means(
            values in (0u32..4, 0u8..4, prop_oneof![0u16..4, any::<u16>()]),
            arrays in any::<([u32; LANES], [u32; LANES], [u8; LANES], [u8; LANES])>(),
            ports in any::<([u16; LANES], [u16; LANES], [u16; 32])>(),
            small: bool,
        ) {
            let (mut with, mut mask, mut with8, mut mask8) = arrays;
            if small {
                with.iter_mut().chain(&mut mask).for_each(|lane| *lane &= 3);
                with8.iter_mut().chain(&mut mask8).for_each(|lane| *lane &= 3);
            }
            widest(Compare { values, arrays: (with, mask, with8, mask8), ports });
        }
    }
}
