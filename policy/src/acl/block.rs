//! Eight rules side by side, checked together.
//!
//! Arrays by field, so that one comparison of the processor's vectors serves all eight. A rule
//! stands in the leaf its own address (or ports) led to; what led there is not checked again.

use super::rule::{Address, Rule, Tuple};
use crate::cpu::{LANES, Lanes, prefetch};

/// Rules found by one of their addresses: the other address, protocol and ports remain.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Block<A> {
    value: [A; LANES],
    mask: [A; LANES],
    order: [u32; LANES],
    src_low: [u16; LANES],
    src_span: [u16; LANES],
    dst_low: [u16; LANES],
    dst_span: [u16; LANES],
    protocol: [u8; LANES],
    protocol_mask: [u8; LANES],
}

/// Rules found by destination port and protocol: addresses and source port remain.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct WideBlock<A> {
    src: [A; LANES],
    src_mask: [A; LANES],
    dst: [A; LANES],
    dst_mask: [A; LANES],
    order: [u32; LANES],
    port_low: [u16; LANES],
    port_span: [u16; LANES],
}

/// A block that can be filled and asked.
pub(super) trait Rules<A>: Clone + Default {
    /// Puts a rule into a lane; lanes not set match nothing.
    fn set(&mut self, lane: usize, order: u32, rule: &Rule<A>, other: Side);
    /// The lowest order among the rules that match, or `u32::MAX`.
    fn first(&self, lanes: impl Lanes, packet: &Tuple<A>, other: A) -> u32;
    /// Whether all lanes are taken.
    fn is_full(&self) -> bool;
}

/// Which address a [`Block`] compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Src,
    Dst,
}

impl<A: Address> Default for Block<A> {
    fn default() -> Self {
        Self {
            value: [A::default(); LANES],
            mask: [A::default(); LANES],
            order: [u32::MAX; LANES],
            src_low: [0; LANES],
            src_span: [0; LANES],
            dst_low: [0; LANES],
            dst_span: [0; LANES],
            protocol: [0; LANES],
            protocol_mask: [0; LANES],
        }
    }
}

impl<A: Address> Block<A> {
    /// Brings its lines near.
    #[inline(always)]
    pub(super) fn prefetch(&self) {
        prefetch(&self.value);
        prefetch(&self.order);
        prefetch(&self.dst_low);
    }
}

impl<A: Address> Rules<A> for Block<A> {
    fn set(&mut self, lane: usize, order: u32, rule: &Rule<A>, other: Side) {
        let prefix = match other {
            Side::Src => rule.src,
            Side::Dst => rule.dst,
        };
        self.value[lane] = prefix.first();
        self.mask[lane] = A::mask(prefix.length());
        self.order[lane] = order;
        self.src_low[lane] = rule.src_ports.low();
        self.src_span[lane] = rule.src_ports.high() - rule.src_ports.low();
        self.dst_low[lane] = rule.dst_ports.low();
        self.dst_span[lane] = rule.dst_ports.high() - rule.dst_ports.low();
        self.protocol[lane] = rule.protocol.unwrap_or(0);
        self.protocol_mask[lane] = if rule.protocol.is_some() { u8::MAX } else { 0 };
    }

    #[inline(always)]
    fn first(&self, lanes: impl Lanes, packet: &Tuple<A>, other: A) -> u32 {
        let bits = A::agree(lanes, other, &self.value, &self.mask)
            & lanes.agree8(packet.protocol, &self.protocol, &self.protocol_mask)
            & lanes.within(packet.src_port, &self.src_low, &self.src_span)
            & lanes.within(packet.dst_port, &self.dst_low, &self.dst_span);
        first_of(bits, &self.order)
    }

    #[inline(always)]
    fn is_full(&self) -> bool {
        self.order[LANES - 1] != u32::MAX
    }
}

impl<A: Address> Default for WideBlock<A> {
    fn default() -> Self {
        Self {
            src: [A::default(); LANES],
            src_mask: [A::default(); LANES],
            dst: [A::default(); LANES],
            dst_mask: [A::default(); LANES],
            order: [u32::MAX; LANES],
            port_low: [0; LANES],
            port_span: [0; LANES],
        }
    }
}

impl<A: Address> Rules<A> for WideBlock<A> {
    fn set(&mut self, lane: usize, order: u32, rule: &Rule<A>, _: Side) {
        self.src[lane] = rule.src.first();
        self.src_mask[lane] = A::mask(rule.src.length());
        self.dst[lane] = rule.dst.first();
        self.dst_mask[lane] = A::mask(rule.dst.length());
        self.order[lane] = order;
        self.port_low[lane] = rule.src_ports.low();
        self.port_span[lane] = rule.src_ports.high() - rule.src_ports.low();
    }

    #[inline(always)]
    fn first(&self, lanes: impl Lanes, packet: &Tuple<A>, _: A) -> u32 {
        let bits = A::agree(lanes, packet.src, &self.src, &self.src_mask)
            & A::agree(lanes, packet.dst, &self.dst, &self.dst_mask)
            & lanes.within(packet.src_port, &self.port_low, &self.port_span);
        first_of(bits, &self.order)
    }

    #[inline(always)]
    fn is_full(&self) -> bool {
        self.order[LANES - 1] != u32::MAX
    }
}

/// The order of the first lane that has its bit; orders grow from lane to lane.
#[inline(always)]
fn first_of(bits: u32, order: &[u32; LANES]) -> u32 {
    let first = order[bits.trailing_zeros() as usize % LANES];
    if bits == 0 { u32::MAX } else { first }
}
