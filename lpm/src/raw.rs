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

use crate::fib::{Fib4, Fib6, follow};
use crate::link::Link;
use crate::list;
use crate::store::Tables;
use crate::value::Value;
use crate::words::Word;

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
    /// Looks up one IPv4 address.
    #[inline(always)]
    pub(crate) fn lookup4(&self, key: Ipv4Addr) -> u16 {
        lookup4(self, key, self.popcnt)
    }

    /// Looks up one IPv6 address.
    #[inline]
    pub(crate) fn lookup6(&self, key: Ipv6Addr) -> u16 {
        lookup6(self, key)
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
fn ones(x: u32, popcnt: bool) -> usize {
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
trait Named {
    fn named_word(&self, at: usize) -> Word;
    fn named_leaf(&self, at: usize) -> u16;
    fn named_link(&self, at: usize) -> Link;
}

impl Named for Tables {
    #[inline(always)]
    fn named_word(&self, at: usize) -> Word {
        debug_assert!(at < self.words.len());
        // SAFETY: see `Named`. Acquire: as in `Tables::word`.
        Word(unsafe { self.words.get_unchecked(at) }.load(Acquire))
    }

    #[inline(always)]
    fn named_leaf(&self, at: usize) -> u16 {
        debug_assert!(at < self.leaves.len());
        // SAFETY: see `Named`. Relaxed: as in `Tables::leaf`.
        unsafe { self.leaves.get_unchecked(at) }.load(Relaxed)
    }

    #[inline(always)]
    fn named_link(&self, at: usize) -> Link {
        debug_assert!(at < self.links.len());
        // SAFETY: see `Named`. Acquire: as in `Tables::link`.
        Link(unsafe { self.links.get_unchecked(at) }.load(Acquire))
    }
}

/// Looks up one IPv4 address.
#[inline(always)]
fn lookup4(tables: &Tables, key: Ipv4Addr, popcnt: bool) -> u16 {
    let key = key.to_bits();
    let word = tables.named_word((key >> 13) as usize);
    let at = word.place() + ones(word.ends() >> (key >> 8 & 31), popcnt);
    if word.is_wide() {
        deeper4(tables, at, key)
    } else {
        tables.named_leaf(at)
    }
}

/// Looks up one IPv6 address.
#[inline]
fn lookup6(tables: &Tables, key: Ipv6Addr) -> u16 {
    let key = key.to_bits();
    follow::<Fib6>(tables, tables.named_link((key >> 112) as usize), key, 16)
}

/// Goes on where the 24 bits of the root do not suffice.
#[inline(never)]
fn deeper4(tables: &Tables, at: usize, key: u32) -> u16 {
    follow::<Fib4>(tables, Link(tables.link(at)), key, 24)
}

/// Looks up IPv4 addresses in a batch.
#[inline]
pub(crate) fn batch4(tables: &Tables, keys: &[Ipv4Addr], values: &mut [Option<Value>]) {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("popcnt") && std::is_x86_feature_detected!("bmi2") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { batch4_bmi2(tables, keys, values) };
    }
    batch4_portable(tables, keys, values);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "popcnt,bmi1,bmi2")]
fn batch4_bmi2(tables: &Tables, keys: &[Ipv4Addr], values: &mut [Option<Value>]) {
    batch4_portable(tables, keys, values);
}

/// How many keys ahead words are fetched into the cache.
const AHEAD: usize = 24;

/// Two loads a key that depend on each other and on no branch: the processor keeps a score of keys
/// under way by itself. Words are asked for earlier still, so that it waits for leaves only.
#[inline(always)]
fn batch4_portable(tables: &Tables, keys: &[Ipv4Addr], values: &mut [Option<Value>]) {
    let look_up = |key: Ipv4Addr| {
        let key = key.to_bits();
        let word = tables.named_word((key >> 13) as usize);
        let at = word.place_of(key >> 8);
        Value::from_raw(if word.is_wide() {
            deeper4(tables, at, key)
        } else {
            tables.named_leaf(at)
        })
    };
    let ahead = keys.get(AHEAD..).unwrap_or_default();
    let (first, last) = values.split_at_mut(ahead.len());
    for ((key, ahead), value) in keys.iter().zip(ahead).zip(first) {
        fetch(
            tables
                .words
                .as_ptr()
                .wrapping_add((ahead.to_bits() >> 13) as usize)
                .cast(),
        );
        *value = look_up(*key);
    }
    for (key, value) in keys[ahead.len()..].iter().zip(last) {
        *value = look_up(*key);
    }
}

/// Asks for what a link leads to: its key's next step is far enough away for it to arrive.
#[inline(always)]
fn fetch_target(tables: &Tables, link: Link) {
    let (words, leaves) = (tables.words.as_ptr(), tables.leaves.as_ptr());
    let list = leaves.wrapping_add(link.place()).cast::<u8>();
    let word = words.wrapping_add(link.place()).cast::<u8>();
    let place = if link.is_list() { list } else { word };
    fetch(place);
    // Lists and groups often end in the next cache line.
    fetch(place.wrapping_add(64));
}

/// Asks for the memory at `place` before it is needed, whatever lies there.
#[inline(always)]
fn fetch(place: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults, and SSE belongs to every x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Looks up IPv6 addresses in a batch.
#[inline]
pub(crate) fn batch6(tables: &Tables, keys: &[Ipv6Addr], values: &mut [Option<Value>]) {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("popcnt") && std::is_x86_feature_detected!("bmi2") {
        if std::is_x86_feature_detected!("avx512bw") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { batch6_avx512(tables, keys, values) };
        }
        // SAFETY: as above.
        return unsafe { batch6_bmi2(tables, keys, values) };
    }
    batch6_stages::<false>(tables, keys, values);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "popcnt,bmi1,bmi2")]
fn batch6_bmi2(tables: &Tables, keys: &[Ipv6Addr], values: &mut [Option<Value>]) {
    batch6_stages::<false>(tables, keys, values);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "popcnt,bmi1,bmi2,avx512f,avx512bw")]
fn batch6_avx512(tables: &Tables, keys: &[Ipv6Addr], values: &mut [Option<Value>]) {
    batch6_stages::<true>(tables, keys, values);
}

/// Keys that go through the stages together.
const STAGED: usize = 128;

/// Keys of one kind that wait for their next step.
type Waiting = [u8; STAGED];

/// Appends, or does not, without a branch; returns how many wait now.
///
/// The count is no part of `Waiting`, so that it stays in a register: it is what each key's turn
/// depends on the last one's by.
#[inline(always)]
#[must_use]
fn push(waiting: &mut Waiting, count: usize, key: usize, really: bool) -> usize {
    waiting[count % STAGED] = key as u8;
    count + usize::from(really)
}

/// All keys take one step, then those that need it the next, sorted by its kind: so no branch
/// depends on a key, and the loads of many keys are under way together.
#[inline(always)]
fn batch6_stages<const VECTOR: bool>(
    tables: &Tables,
    keys: &[Ipv6Addr],
    values: &mut [Option<Value>],
) {
    let mut octets = [[0_u8; 16]; STAGED];
    let mut links = [Link(0); STAGED];
    // Bytes of each key that were consumed.
    let mut depths = [0_u8; STAGED];
    let mut waiting: [Waiting; 3] = [[0; STAGED]; 3];
    let [mut words, mut lists, mut more] = waiting.each_mut();
    for (keys, values) in keys.chunks(STAGED).zip(values.chunks_mut(STAGED)) {
        let (mut words_count, mut lists_count) = (0, 0);
        for (at, key) in keys.iter().enumerate() {
            if let Some(ahead) = keys.get(at + AHEAD) {
                let head = (ahead.to_bits() >> 96) as u32;
                let window = tables.named_link((head >> 16) as usize).place();
                let word = window + (head >> 5 & 0x7ff) as usize;
                fetch(tables.words.as_ptr().wrapping_add(word).cast());
            }
            octets[at] = key.octets();
            let head = (key.to_bits() >> 96) as u32;
            let mut link = tables.named_link((head >> 16) as usize);
            let mut depth = 2;
            if link.is_words() {
                let word = tables.named_word(link.place() + (head >> 5 & 0x7ff) as usize);
                link = tables.named_link(word.place_of(head));
                depth = 4;
            }
            links[at] = link;
            depths[at] = depth;
            words_count = push(words, words_count, at, link.is_words());
            lists_count = push(lists, lists_count, at, link.is_list());
            fetch_target(tables, link);
        }
        while words_count + lists_count > 0 {
            while words_count > 0 {
                let mut more_count = 0;
                for at in &words[..words_count] {
                    let at = usize::from(*at) % STAGED;
                    let slot = u32::from(octets[at][usize::from(depths[at]) % 16]);
                    let word = tables.named_word(links[at].place() + (slot >> 5) as usize);
                    let link = tables.named_link(word.place_of(slot));
                    links[at] = link;
                    depths[at] += 1;
                    more_count = push(more, more_count, at, link.is_words());
                    lists_count = push(lists, lists_count, at, link.is_list());
                    fetch_target(tables, link);
                }
                std::mem::swap(&mut words, &mut more);
                words_count = more_count;
            }
            let mut more_count = 0;
            for at in &lists[..lists_count] {
                let at = usize::from(*at) % STAGED;
                let depth = usize::from(depths[at]) % 16;
                let pair = u16::from_be_bytes([octets[at][depth & 14], octets[at][depth | 1]]);
                // At an odd byte, a list tells only that byte apart.
                let slot = pair & (0xffff >> (8 * (depth & 1)));
                let link = find::<VECTOR>(tables, links[at].place(), slot);
                links[at] = link;
                depths[at] = (depth as u8 | 1) + 1;
                words_count = push(words, words_count, at, link.is_words());
                more_count = push(more, more_count, at, link.is_list());
            }
            std::mem::swap(&mut lists, &mut more);
            lists_count = more_count;
        }
        for (link, value) in links.iter().zip(values) {
            *value = Value::from_raw(link.0 as u16);
        }
    }
}

/// What the list at `at` holds for `slot`.
#[inline(always)]
fn find<const VECTOR: bool>(tables: &Tables, at: usize, slot: u16) -> Link {
    let header = tables.named_leaf(at);
    let boundaries = usize::from(header & !list::WIDE);
    let rank = if VECTOR {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: only functions compiled for AVX-512 ask for it. The list is at `at`.
        unsafe {
            rank_avx512(tables, at, boundaries as u32, slot)
        }
        #[cfg(not(target_arch = "x86_64"))]
        unreachable!("asked for on x86-64 only")
    } else {
        rank_portable(tables, at, boundaries, slot)
    };
    let runs = at + 1 + boundaries;
    if header & list::WIDE == 0 {
        Link::value(tables.named_leaf(runs + rank))
    } else {
        let low = u32::from(tables.named_leaf(runs + 2 * rank));
        Link(low | u32::from(tables.named_leaf(runs + 2 * rank + 1)) << 16)
    }
}

/// How many boundaries are not above `slot`: five halvings, whatever the list.
#[inline(always)]
fn rank_portable(tables: &Tables, at: usize, boundaries: usize, slot: u16) -> usize {
    let mut rank = 0;
    for step in [16, 8, 4, 2, 1] {
        let middle = rank + step;
        let start = tables.named_leaf(at + middle.min(boundaries));
        rank = if (middle <= boundaries) & (start <= slot) {
            middle
        } else {
            rank
        };
    }
    rank
}

/// The same by one comparison.
///
/// # Safety
///
/// A list with that many boundaries lies at `at`. Its count and boundaries do not change as long
/// as a reader may know of it, so reading them together is no race; the mask keeps out what
/// follows.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,popcnt")]
unsafe fn rank_avx512(tables: &Tables, at: usize, boundaries: u32, slot: u16) -> usize {
    use std::arch::x86_64::{
        _mm512_mask_cmple_epu16_mask, _mm512_maskz_loadu_epi16, _mm512_set1_epi16,
    };
    debug_assert!(at + (boundaries as usize) < tables.leaves.len());
    // The lanes of the boundaries: lane 0 is their count.
    let mask = (2_u32 << boundaries).wrapping_sub(2);
    // SAFETY: by the contract above, all lanes of the mask are inside the array.
    let starts =
        unsafe { _mm512_maskz_loadu_epi16(mask, tables.leaves.as_ptr().add(at).cast::<i16>()) };
    _mm512_mask_cmple_epu16_mask(mask, starts, _mm512_set1_epi16(slot as i16)).count_ones() as usize
}

impl fmt::Debug for Pinned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").finish_non_exhaustive()
    }
}
