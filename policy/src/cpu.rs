//! What the processor offers beyond plain code: prefetches and wide vectors. The one place of
//! this crate with `unsafe`.
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

/// Work to be compiled for several processors. `run` must be `#[inline(always)]`, as must what
/// it calls for its loops.
pub(crate) trait Kernel {
    /// Does the work.
    fn run(self);
}

/// Runs the work with the widest vectors this processor has.
#[inline]
pub(crate) fn widest(kernel: impl Kernel) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("bmi2")
        {
            // SAFETY: the processor has the features, as just asked.
            return unsafe { with_avx512(kernel) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2") {
            // SAFETY: the processor has the features, as just asked.
            return unsafe { with_avx2(kernel) };
        }
    }
    kernel.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx2,bmi1,bmi2")]
fn with_avx512(kernel: impl Kernel) {
    kernel.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2")]
fn with_avx2(kernel: impl Kernel) {
    kernel.run();
}
