//! Lookups of 16 keys at once: AVX-512.
//!
//! A *gather* loads 16 links or leaves, or 8 words, from as many places. The processor has some 450
//! instructions under way and a gather is 40 of them, so a load that waits for another soon stops all
//! that follows. Therefore no vector takes its next step at once: others take theirs in between.

use std::arch::x86_64::*;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::batch::{STAGED, Stages, fetch_target, find, four, look_up, push, six};
use crate::cells::{Link, PLACE, POINTER, WORDS};
use crate::raw::fetch;
use crate::raw::vectors::{LANES, halves, lanes, leaves, links, load4, load6, words};
use crate::tables::Tables;
use crate::value::Value;

/// Vectors whose leaves are loaded this many vectors after their words: the time the words take
/// to arrive.
const LAG: usize = 3;

/// Keys whose exceptions are kept together.
const CHUNK: usize = 256;

/// Keys are asked for this many bytes ahead, be it in the caller's next batch: they may come from
/// afar, and the processor's own foresight ends with a page, which is 256 keys of IPv6.
const AHEAD4: usize = 16 * LANES * size_of::<Ipv4Addr>();
const AHEAD6: usize = 8 * LANES * size_of::<Ipv6Addr>();

/// Looks up IPv4 addresses.
#[target_feature(enable = "popcnt,bmi1,bmi2,avx512f,avx512bw,avx512dq,avx512vpopcntdq")]
pub(crate) fn four_vectors(tables: &Tables, keys: &[Ipv4Addr], values: &mut [Option<Value>]) {
    let whole = keys.len() / LANES * LANES;
    let (keys, keys_left) = keys.split_at(whole);
    let (values, values_left) = values.split_at_mut(whole);
    for (keys, values) in keys.chunks(CHUNK).zip(values.chunks_mut(CHUNK)) {
        // Keys whose words are wide: one in a hundred, too many for a branch in the loop.
        let mut wide = [0_u32; CHUNK + LANES];
        let count = narrow(tables, keys, values, &mut wide);
        for key in &wide[..count] {
            let key = *key as usize;
            values[key] = look_up(tables, keys[key]);
        }
    }
    four(tables, keys_left, values_left);
}

/// Looks up those whose words are not wide; returns how many `wide` tells of.
#[inline]
#[target_feature(enable = "popcnt,bmi1,bmi2,avx512f,avx512bw,avx512dq,avx512vpopcntdq")]
fn narrow(
    tables: &Tables,
    keys: &[Ipv4Addr],
    values: &mut [Option<Value>],
    wide: &mut [u32; CHUNK + LANES],
) -> usize {
    let (keys, _) = keys.as_chunks::<LANES>();
    let (values, _) = values.as_chunks_mut::<LANES>();
    let mut under_way = [(_mm512_setzero_si512(), 0_u64); 4];
    let mut numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let mut count = 0;
    for vector in 0..keys.len() + LAG {
        if let Some(keys) = keys.get(vector) {
            fetch(keys.as_ptr().cast::<u8>().wrapping_add(AHEAD4));
            let keys = load4(keys);
            let (ends, places) = words(tables, _mm512_srli_epi32::<13>(keys), u16::MAX);
            let at = run(ends, places, _mm512_srli_epi32::<8>(keys));
            let mask = _mm512_movepi32_mask(places);
            under_way[vector % 4] = (at, (!mask).into());
            let entries = lanes(_mm512_maskz_compress_epi32(mask, numbers));
            if let Some(place) = wide[count..].first_chunk_mut() {
                *place = entries;
            }
            count += mask.count_ones() as usize;
            numbers = _mm512_add_epi32(numbers, _mm512_set1_epi32(LANES as i32));
        }
        if let Some(done) = vector.checked_sub(LAG) {
            let (at, mask) = under_way[done % 4];
            let found = halves(leaves(tables, at, mask as u16));
            for (value, found) in values[done].iter_mut().zip(found) {
                *value = Value::from_raw(found);
            }
        }
    }
    count
}

/// Where the runs of words lie that hold slots, which are taken modulo 32.
#[inline]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn run(ends: __m512i, places: __m512i, slots: __m512i) -> __m512i {
    let slots = _mm512_and_si512(slots, _mm512_set1_epi32(31));
    let ranks = _mm512_popcnt_epi32(_mm512_srlv_epi32(ends, slots));
    let places = _mm512_and_si512(places, _mm512_set1_epi32(i32::MAX));
    _mm512_add_epi32(places, ranks)
}

/// The lanes whose links lead to words.
#[inline]
#[target_feature(enable = "avx512f")]
fn to_words(links: __m512i) -> u16 {
    _mm512_cmpge_epu32_mask(links, _mm512_set1_epi32((POINTER | WORDS) as i32))
}

/// The lanes whose links lead to anything.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn pointers(links: __m512i) -> u16 {
    _mm512_movepi32_mask(links)
}

/// 16 keys under way through words: each step is a load of words, then of the links they name.
#[derive(Clone, Copy)]
struct UnderWay {
    links: __m512i,
    /// Where the next links lie.
    at: __m512i,
    /// The second 32 bits of each key.
    low: __m512i,
    /// The lanes that take this step, and those that took the last.
    mask: u64,
    before: u64,
    /// Lanes that take another way, from 16 bits on.
    early: u64,
}

impl UnderWay {
    /// Loads the words of those lanes that lead to some; the slot is the low bits of `slots`.
    #[inline]
    #[target_feature(enable = "popcnt,bmi1,bmi2,avx512f,avx512bw,avx512dq,avx512vpopcntdq")]
    fn load_words(&mut self, tables: &Tables, slots: __m512i, last: i32) {
        let mask = to_words(self.links);
        let slots = _mm512_and_si512(slots, _mm512_set1_epi32(last));
        let place = _mm512_and_si512(self.links, _mm512_set1_epi32(PLACE as i32));
        let at = _mm512_add_epi32(place, _mm512_srli_epi32::<5>(slots));
        let (ends, places) = words(tables, at, mask);
        self.at = run(ends, places, slots);
        self.before = self.mask;
        self.mask = mask.into();
    }

    #[inline]
    #[target_feature(enable = "popcnt,bmi1,bmi2,avx512f,avx512bw,avx512dq,avx512vpopcntdq")]
    fn load_links(&mut self, tables: &Tables) {
        self.links = links(tables, self.links, self.at, self.mask as u16);
    }
}

/// Lists that wait: the key's number and the slot.
type Lists = [u32; STAGED + LANES];

/// Looks up IPv6 addresses.
#[target_feature(enable = "popcnt,bmi1,bmi2,avx512f,avx512bw,avx512dq,avx512vpopcntdq")]
pub(crate) fn six_vectors(tables: &Tables, keys: &[Ipv6Addr], values: &mut [Option<Value>]) {
    let whole = keys.len() / LANES * LANES;
    let (keys, keys_left) = keys.split_at(whole);
    let (values, values_left) = values.split_at_mut(whole);
    let mut stages = Stages::new();
    let mut lists: Lists = [0; STAGED + LANES];
    for (keys, values) in keys.chunks(STAGED).zip(values.chunks_mut(STAGED)) {
        let (count, mut others_count) = first_steps(tables, keys, &mut stages, &mut lists);
        for at in 0..count {
            let ahead = lists[(at + 8) % STAGED] >> 16;
            fetch_target(tables, stages.links[ahead as usize % STAGED]);
            let list = lists[at];
            let key = (list >> 16) as usize % STAGED;
            let link = find::<true>(tables, stages.links[key].place(), list as u16);
            stages.links[key] = link;
            stages.depths[key] = 6;
            others_count = push(&mut stages.more, others_count, key, link.is_pointer());
        }
        if others_count > 0 {
            let (mut words_count, mut lists_count) = (0, 0);
            for at in 0..others_count {
                let key = usize::from(stages.more[at]);
                let link = stages.links[key];
                words_count = push(&mut stages.words, words_count, key, link.is_words());
                lists_count = push(&mut stages.lists, lists_count, key, link.is_list());
            }
            stages.finish::<true>(tables, keys, words_count, lists_count);
        }
        for (link, value) in stages.links.iter().zip(values) {
            *value = Value::from_raw(link.0 as u16);
        }
    }
    if !keys_left.is_empty() {
        six::<true>(tables, keys_left, values_left);
    }
}

/// Up to three steps through words. Returns how many lists wait in `lists`, and how many keys
/// that take another way in `stages.more`.
#[inline]
#[target_feature(enable = "popcnt,bmi1,bmi2,avx512f,avx512bw,avx512dq,avx512vpopcntdq")]
fn first_steps(
    tables: &Tables,
    keys: &[Ipv6Addr],
    stages: &mut Stages,
    lists: &mut Lists,
) -> (usize, usize) {
    let (keys, _) = keys.as_chunks::<LANES>();
    let nothing = UnderWay {
        links: _mm512_setzero_si512(),
        at: _mm512_setzero_si512(),
        low: _mm512_setzero_si512(),
        mask: 0,
        before: 0,
        early: 0,
    };
    let mut under_way = [nothing; STAGED / LANES];
    let (mut count, mut others_count) = (0, 0);
    for vector in 0..keys.len() + 5 {
        if let Some(keys) = keys.get(vector) {
            for place in (0..size_of_val(keys)).step_by(64) {
                fetch(keys.as_ptr().cast::<u8>().wrapping_add(AHEAD6 + place));
            }
            let (high, low) = load6(keys);
            let root = _mm512_srli_epi32::<16>(high);
            let mut now = UnderWay { low, ..nothing };
            now.links = links(tables, now.links, root, u16::MAX);
            now.load_words(tables, high, 0xffff);
            now.early = (pointers(now.links) & !now.mask as u16).into();
            under_way[vector] = now;
        }
        for step in 1..5 {
            if let Some(vector) = vector.checked_sub(step)
                && vector < keys.len()
            {
                let now = &mut under_way[vector];
                if step % 2 == 1 {
                    now.load_links(tables);
                } else if step == 2 {
                    now.load_words(tables, _mm512_srli_epi32::<24>(now.low), 0xff);
                } else {
                    now.load_words(tables, _mm512_srli_epi32::<16>(now.low), 0xff);
                }
            }
        }
        if let Some(vector) = vector.checked_sub(5) {
            let now = &mut under_way[vector];
            now.load_links(tables);
            let (to, third) = (now.links, now.mask as u16);
            let (stepped, early) = (now.before as u16, now.early as u16);
            // Lists begin 40 bits deep after two steps, else 32.
            let slots = _mm512_srli_epi32::<16>(now.low);
            let first = (vector * LANES) as i32;
            let numbers = _mm512_add_epi32(
                _mm512_set1_epi32(first),
                _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
            );
            let octet = _mm512_set1_epi32(0xff);
            let slots = _mm512_mask_and_epi32(slots, stepped, slots, octet);
            let entries = _mm512_or_si512(_mm512_slli_epi32::<16>(numbers), slots);
            let pointers = pointers(to);
            let found = pointers & !third & !early;
            let entries = lanes(_mm512_maskz_compress_epi32(found, entries));
            if let Some(place) = lists[count..].first_chunk_mut() {
                *place = entries;
            }
            count += found.count_ones() as usize;
            for (link, found) in stages.links[first as usize..].iter_mut().zip(lanes(to)) {
                *link = Link(found);
            }
            let mut others = pointers & (third | early);
            while others != 0 {
                let lane = others.trailing_zeros() as usize;
                let key = first as usize + lane;
                stages.depths[key] = if early >> lane & 1 != 0 { 2 } else { 6 };
                others_count = push(&mut stages.more, others_count, key, true);
                others &= others - 1;
            }
        }
    }
    (count, others_count)
}
