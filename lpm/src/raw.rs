//! All of the crate's `unsafe`: the pointer by which a table's arrays are published, and lookups
//! without bounds checks, compiled for what the processor has.
#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering::{self, Acquire, Relaxed};

use crossbeam::epoch::{self, Atomic, Owned, Shared};
use crossbeam::queue::SegQueue;

use crate::batch;
use crate::tables::Tables;
use crate::value::Value;

/// What the writer and its readers share.
struct Place {
    /// Never null while shared.
    current: Atomic<Tables>,
    /// What was replaced and all readers have left, for the writer to free: giving megabytes back
    /// to the system takes longer than a reader has.
    left: SegQueue<Box<Tables>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let current = std::mem::replace(&mut self.current, Atomic::null());
        // SAFETY: nobody shares this place any more, so nobody reads what it points to, which was
        // made by `Owned` and is given away by `swap` only together with its replacement.
        drop(unsafe { current.try_into_owned() });
    }
}

/// The only one who replaces the published tables.
pub(crate) struct Publisher {
    place: Arc<Place>,
    /// Bytes that were replaced and not freed yet.
    waiting: usize,
}

impl Publisher {
    pub(crate) fn new(tables: Box<Tables>) -> Self {
        let place = Place {
            current: Atomic::from(tables),
            left: SegQueue::new(),
        };
        Self {
            place: Arc::new(place),
            waiting: 0,
        }
    }

    pub(crate) fn subscribe(&self) -> Subscriber {
        Subscriber {
            place: Arc::clone(&self.place),
        }
    }

    #[inline]
    pub(crate) fn current(&self) -> &Tables {
        // Relaxed: this thread stored the pointer, or was handed the publisher after that.
        // SAFETY: the pointer is never null, and only `swap` replaces what it points to, which
        // takes `&mut self` and so cannot happen while this borrow lives.
        unsafe {
            self.place
                .current
                .load(Ordering::Relaxed, epoch::unprotected())
                .deref()
        }
    }

    /// Publishes `tables`. What they replace is freed by a later [`Publisher::sweep`].
    pub(crate) fn swap(&mut self, tables: Box<Tables>) {
        self.waiting += self.current().bytes();
        let guard = epoch::pin();
        // Release: pairs with the Acquire in `Subscriber::pin`.
        let old = self
            .place
            .current
            .swap(Owned::from(tables), Ordering::AcqRel, &guard);
        let (old, place) = (old.as_raw() as usize, Arc::clone(&self.place));
        // SAFETY: the closure captures no borrow. It runs when every thread pinned now has
        // unpinned; later ones cannot load the pointer that was just replaced, so it has the
        // tables to itself. Only this closure gets this pointer, and only once.
        unsafe {
            guard.defer_unchecked(move || {
                let old = Shared::from(old as *const Tables).into_owned();
                place.left.push(old.into_box());
            });
        }
        guard.flush();
    }

    /// Frees what all readers have left.
    pub(crate) fn sweep(&mut self) {
        while let Some(tables) = self.place.left.pop() {
            self.waiting -= tables.bytes();
        }
    }

    /// Bytes that were replaced and not freed yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }
}

/// One who reads the published tables.
#[derive(Clone)]
pub(crate) struct Subscriber {
    place: Arc<Place>,
}

impl Subscriber {
    /// The tables published now, kept until the guard is dropped.
    #[inline]
    pub(crate) fn pin(&self) -> Pinned<'_> {
        let guard = epoch::pin();
        // Acquire: pairs with the Release in `Publisher::swap`.
        let tables = self.place.current.load(Ordering::Acquire, &guard).as_raw();
        Pinned {
            tables,
            popcnt: has_popcnt(),
            _guard: guard,
            place: PhantomData,
        }
    }
}

/// Tables that stay while this lives.
pub struct Pinned<'r> {
    tables: *const Tables,
    /// What [`has_popcnt`] says, where a lookup finds it at once.
    popcnt: bool,
    _guard: epoch::Guard,
    place: PhantomData<&'r Place>,
}

impl Pinned<'_> {
    /// Whether the processor counts bits in one instruction.
    #[inline(always)]
    pub(crate) fn popcnt(&self) -> bool {
        self.popcnt
    }
}

impl Deref for Pinned<'_> {
    type Target = Tables;

    #[inline(always)]
    fn deref(&self) -> &Tables {
        // SAFETY: the pointer is never null. It was loaded under the guard this owns, and what is
        // replaced is given away only after the guards of that time are dropped; the place itself
        // is borrowed, so it has not freed them either.
        unsafe { &*self.tables }
    }
}

/// Whether the processor counts bits in one instruction, which the compiler must not assume of
/// every x86-64.
#[inline]
pub(crate) fn has_popcnt() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::is_x86_feature_detected!("popcnt");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// The set bits of `x`. `popcnt`: [`has_popcnt`] said so.
#[inline(always)]
pub(crate) fn ones(x: u32, popcnt: bool) -> usize {
    #[cfg(all(target_arch = "x86_64", not(target_feature = "popcnt")))]
    if popcnt {
        let count: u32;
        // SAFETY: the processor has the instruction; it touches only these registers and flags.
        unsafe {
            std::arch::asm!(
                "popcnt {0:e}, {1:e}", out(reg) count, in(reg) x, options(pure, nomem, nostack)
            );
        }
        return count as usize;
    }
    let _ = popcnt;
    x.count_ones() as usize
}

/// Cells that a word or link names, without a check in release builds.
///
/// Sound because of what the writer keeps: an IPv4 table has a word for each of the first 19 bits,
/// an IPv6 table a link for each of the first 16; what a published cell names lies in the arrays it
/// was published with, which never shrink; and arrays are replaced together.
pub(crate) trait Named {
    fn named_word(&self, at: usize) -> u64;
    fn named_leaf(&self, at: usize) -> u16;
    fn named_link(&self, at: usize) -> u32;
}

impl Named for Tables {
    #[inline(always)]
    fn named_word(&self, at: usize) -> u64 {
        debug_assert!(at < self.words.len());
        // SAFETY: see `Named`. Acquire: as in `Tables::word`.
        unsafe { self.words.get_unchecked(at) }.load(Acquire)
    }

    #[inline(always)]
    fn named_leaf(&self, at: usize) -> u16 {
        debug_assert!(at < self.leaves.len());
        // SAFETY: see `Named`. Relaxed: as in `Tables::leaf`.
        unsafe { self.leaves.get_unchecked(at) }.load(Relaxed)
    }

    #[inline(always)]
    fn named_link(&self, at: usize) -> u32 {
        debug_assert!(at < self.links.len());
        // SAFETY: see `Named`. Acquire: as in `Tables::link`.
        unsafe { self.links.get_unchecked(at) }.load(Acquire)
    }
}

/// Asks for the memory at `place` before it is needed, whatever lies there.
#[inline(always)]
pub(crate) fn fetch(place: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults, and SSE belongs to every x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// What lookups of batches are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any processor.
    Any,
    /// Instructions on bits.
    Bits,
    /// AVX-512.
    Vectors,
}

/// The kinds this processor has, the fastest last.
#[cfg(all(test, not(loom)))]
pub(crate) fn kinds() -> Vec<Kind> {
    let fastest = kind();
    let all = [Kind::Any, Kind::Bits, Kind::Vectors];
    let end = all.iter().position(|kind| *kind == fastest);
    all[..=end.expect("all kinds are listed")].to_vec()
}

/// The fastest kind this processor has.
#[inline]
fn kind() -> Kind {
    #[cfg(target_arch = "x86_64")]
    {
        if vectors::present() {
            return Kind::Vectors;
        }
        if has_bits() {
            return Kind::Bits;
        }
    }
    Kind::Any
}

/// Looks up IPv4 addresses in a batch.
#[inline]
pub(crate) fn batch4(tables: &Tables, keys: &[Ipv4Addr], values: &mut [Option<Value>]) {
    batch4_as(kind(), tables, keys, values);
}

/// Looks up IPv6 addresses in a batch.
#[inline]
pub(crate) fn batch6(tables: &Tables, keys: &[Ipv6Addr], values: &mut [Option<Value>]) {
    batch6_as(kind(), tables, keys, values);
}

/// [`batch4`], by a kind the processor has.
#[inline]
pub(crate) fn batch4_as(
    kind: Kind,
    tables: &Tables,
    keys: &[Ipv4Addr],
    values: &mut [Option<Value>],
) {
    match kind {
        // SAFETY: the processor has what the function is compiled for, as `kind` says.
        #[cfg(target_arch = "x86_64")]
        Kind::Vectors => unsafe { crate::vector::four_vectors(tables, keys, values) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Kind::Bits => unsafe { batch::four_bits(tables, keys, values) },
        #[cfg(not(target_arch = "x86_64"))]
        Kind::Vectors | Kind::Bits => batch::four(tables, keys, values),
        Kind::Any => batch::four(tables, keys, values),
    }
}

/// [`batch6`], by a kind the processor has.
#[inline]
pub(crate) fn batch6_as(
    kind: Kind,
    tables: &Tables,
    keys: &[Ipv6Addr],
    values: &mut [Option<Value>],
) {
    match kind {
        // SAFETY: as in `batch4_as`.
        #[cfg(target_arch = "x86_64")]
        Kind::Vectors => unsafe { crate::vector::six_vectors(tables, keys, values) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Kind::Bits => unsafe { batch::six_bits(tables, keys, values) },
        #[cfg(not(target_arch = "x86_64"))]
        Kind::Vectors | Kind::Bits => batch::six::<false>(tables, keys, values),
        Kind::Any => batch::six::<false>(tables, keys, values),
    }
}

/// Whether the processor has the instructions on bits that all x86-64 of the last decade have.
#[cfg(target_arch = "x86_64")]
#[inline]
fn has_bits() -> bool {
    std::is_x86_feature_detected!("popcnt")
        && std::is_x86_feature_detected!("bmi1")
        && std::is_x86_feature_detected!("bmi2")
}

/// 16 keys at a time: AVX-512.
#[cfg(target_arch = "x86_64")]
pub(crate) mod vectors {
    use std::arch::asm;
    use std::arch::x86_64::*;

    use super::{Ipv4Addr, Ipv6Addr, Tables};

    /// Lanes of a vector: keys that are looked up together.
    pub(crate) const LANES: usize = 16;

    /// Whether the processor has the vectors this module and its users are compiled for.
    #[inline]
    pub(crate) fn present() -> bool {
        super::has_bits()
            && std::is_x86_feature_detected!("avx512f")
            && std::is_x86_feature_detected!("avx512bw")
            && std::is_x86_feature_detected!("avx512dq")
            && std::is_x86_feature_detected!("avx512vpopcntdq")
    }

    /// Both kinds of addresses are their octets and nothing else: the loads below rely on it.
    const _: () = assert!(size_of::<Ipv4Addr>() == 4 && size_of::<Ipv6Addr>() == 16);

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn swap_bytes(x: __m512i) -> __m512i {
        let order = _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
        _mm512_shuffle_epi8(x, _mm512_broadcast_i32x4(order))
    }

    /// Addresses as numbers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(crate) fn load4(keys: &[Ipv4Addr; LANES]) -> __m512i {
        // SAFETY: 16 addresses of 4 octets.
        swap_bytes(unsafe { _mm512_loadu_si512(keys.as_ptr().cast()) })
    }

    /// The first 32 bits of each address and the next 32, as numbers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(crate) fn load6(keys: &[Ipv6Addr; LANES]) -> (__m512i, __m512i) {
        let at = |quarter: usize| keys[4 * quarter..].as_ptr().cast();
        // SAFETY: four times 4 addresses of 16 octets.
        let quarters = unsafe {
            [
                _mm512_loadu_si512(at(0)),
                _mm512_loadu_si512(at(1)),
                _mm512_loadu_si512(at(2)),
                _mm512_loadu_si512(at(3)),
            ]
        };
        // The first two quarters of 32 bits of each address, of eight addresses.
        let pairs = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
        let low = _mm512_permutex2var_epi32(quarters[0], pairs, quarters[1]);
        let high = _mm512_permutex2var_epi32(quarters[2], pairs, quarters[3]);
        (
            swap_bytes(_mm512_shuffle_i64x2::<0b01_00_01_00>(low, high)),
            swap_bytes(_mm512_shuffle_i64x2::<0b11_10_11_10>(low, high)),
        )
    }

    /// The lanes of a vector.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn lanes(x: __m512i) -> [u32; LANES] {
        // SAFETY: both are 64 bytes of which any value is legal.
        unsafe { std::mem::transmute(x) }
    }

    /// The low half of each lane.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn halves(x: __m512i) -> [u16; LANES] {
        // SAFETY: both are 32 bytes of which any value is legal.
        unsafe { std::mem::transmute(_mm512_cvtepi32_epi16(x)) }
    }

    /// The words at the lanes of `mask`: their low halves, and their high halves. 0 elsewhere.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn words(tables: &Tables, at: __m512i, mask: u16) -> (__m512i, __m512i) {
        check(tables.words.len(), at, mask);
        let base = tables.words.as_ptr();
        let gather = |at: __m256i, mask: u8| {
            let mut words = _mm512_setzero_si512();
            // SAFETY: as `Named` says, all words named lie in the array. An instruction of assembly
            // and not the compiler's own: the writer stores to these cells meanwhile, and the
            // processor loads each of them, which is aligned, whole, and before what depends on it.
            unsafe {
                asm!(
                    "vpgatherdq {words}{{{mask}}}, [{base} + {at}*8]",
                    words = inout(zmm_reg) words,
                    mask = inout(kreg) mask => _,
                    base = in(reg) base,
                    at = in(ymm_reg) at,
                    options(readonly, nostack, preserves_flags),
                );
            }
            words
        };
        let low = gather(_mm512_castsi512_si256(at), mask as u8);
        let high = gather(_mm512_extracti64x4_epi64::<1>(at), (mask >> 8) as u8);
        let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
        (
            _mm512_permutex2var_epi32(low, even, high),
            _mm512_permutex2var_epi32(low, odd, high),
        )
    }

    /// The links at the lanes of `mask`, and `links` elsewhere.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn links(tables: &Tables, mut links: __m512i, at: __m512i, mask: u16) -> __m512i {
        check(tables.links.len(), at, mask);
        // SAFETY: as in `words`.
        unsafe {
            asm!(
                "vpgatherdd {links}{{{mask}}}, [{base} + {at}*4]",
                links = inout(zmm_reg) links,
                mask = inout(kreg) mask => _,
                base = in(reg) tables.links.as_ptr(),
                at = in(zmm_reg) at,
                options(readonly, nostack, preserves_flags),
            );
        }
        links
    }

    /// The leaves at the lanes of `mask`, in their low halves.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn leaves(tables: &Tables, at: __m512i, mask: u16) -> __m512i {
        // Each lane loads the next leaf too, which is why the last is never named.
        check(tables.leaves.len() - 1, at, mask);
        let mut leaves = _mm512_setzero_si512();
        // SAFETY: as in `words`. A load that straddles two lines of the cache may come in two
        // halves, but those are two leaves.
        unsafe {
            asm!(
                "vpgatherdd {leaves}{{{mask}}}, [{base} + {at}*2]",
                leaves = inout(zmm_reg) leaves,
                mask = inout(kreg) mask => _,
                base = in(reg) tables.leaves.as_ptr(),
                at = in(zmm_reg) at,
                options(readonly, nostack, preserves_flags),
            );
        }
        leaves
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn check(len: usize, at: __m512i, mask: u16) {
        if cfg!(debug_assertions) {
            for (lane, at) in lanes(at).iter().enumerate() {
                assert!(mask >> lane & 1 == 0 || (*at as usize) < len);
            }
        }
    }

    /// How many of a list's boundaries are not above `slot`.
    ///
    /// # Safety
    ///
    /// A list with that many boundaries lies at `at`. Its count and boundaries do not change as
    /// long as a reader may know of it, so reading them together is no race; the mask keeps out
    /// what follows.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,popcnt")]
    pub(super) unsafe fn rank(tables: &Tables, at: usize, boundaries: u32, slot: u16) -> usize {
        debug_assert!(at + (boundaries as usize) < tables.leaves.len());
        // The lanes of the boundaries: lane 0 is their count.
        let mask = (2_u32 << boundaries).wrapping_sub(2);
        // SAFETY: by the contract above, all lanes of the mask are inside the array.
        let starts =
            unsafe { _mm512_maskz_loadu_epi16(mask, tables.leaves.as_ptr().add(at).cast::<i16>()) };
        _mm512_mask_cmple_epu16_mask(mask, starts, _mm512_set1_epi16(slot as i16)).count_ones()
            as usize
    }
}

/// [`rank`](vectors::rank) of the list at `at`, for functions that are compiled for vectors.
#[inline(always)]
pub(crate) fn rank_vector(tables: &Tables, at: usize, boundaries: usize, slot: u16) -> usize {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: only functions compiled for vectors ask. The list is at `at`.
    unsafe {
        vectors::rank(tables, at, boundaries as u32, slot)
    }
    #[cfg(not(target_arch = "x86_64"))]
    unreachable!("asked for on x86-64 only, and not {boundaries} {slot} {at} {tables:p}")
}

impl fmt::Debug for Pinned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").finish_non_exhaustive()
    }
}
