//! Rules found by destination port and protocol: those whose addresses say too little.
//!
//! The ports are cut into classes at the boundaries of all ranges; each class and protocol is a
//! cell with its leaf. A cell's leaf ends with the first rule that has nothing left to check.

use std::collections::BTreeMap;

use super::axis::Store;
use super::block::{Side, WideBlock};
use super::leaf::Leaf;
use super::rule::{Address, PortRange, Rule, Tuple};
use super::runs::Runs;

/// Classes and protocols.
#[derive(Clone, Debug)]
pub(super) struct Ports<A: Address> {
    class: Box<[u16]>,
    /// Column of each protocol; 0 for those no rule names.
    column: [u8; 256],
    columns: u32,
    /// First port of each class.
    starts: BTreeMap<u16, u16>,
    /// By cell: class * stride + column.
    leaves: Vec<Leaf>,
    orders: Vec<Vec<u32>>,
    stride: u32,
    pub(super) blocks: Runs<WideBlock<A>>,
}

impl<A: Address> Ports<A> {
    pub(super) fn new() -> Self {
        Self {
            class: vec![0; 1 << 16].into(),
            column: [0; 256],
            columns: 1,
            starts: BTreeMap::from([(0, 0)]),
            leaves: vec![Leaf::EMPTY; 4],
            orders: vec![Vec::new(); 4],
            stride: 4,
            blocks: Runs::new(),
        }
    }

    #[inline(always)]
    pub(super) fn leaf(&self, packet: &Tuple<A>) -> Leaf {
        let class = u32::from(self.class[usize::from(packet.dst_port)]);
        let column = u32::from(self.column[usize::from(packet.protocol)]);
        self.leaves[(class * self.stride + column) as usize]
    }

    pub(super) fn bytes(&self) -> usize {
        self.class.len() * 2 + 256 + self.leaves.len() * 8 + self.blocks.bytes()
    }

    /// Cells a rule would take part in.
    pub(super) fn cells(&self, rule: &Rule<A>) -> usize {
        let classes = self
            .starts
            .range(rule.dst_ports.low()..=rule.dst_ports.high())
            .count()
            + 1;
        if rule.protocol.is_some() {
            classes
        } else {
            classes * self.columns as usize
        }
    }

    /// Makes the classes and the column a rule needs, without filing it.
    pub(super) fn prepare(&mut self, rule: &Rule<A>, store: &Store<A>) {
        self.split(rule.dst_ports.low(), store);
        if let Some(next) = rule.dst_ports.high().checked_add(1) {
            self.split(next, store);
        }
        if let Some(protocol) = rule.protocol {
            self.name(protocol, store);
        }
    }

    /// Files a rule; `building` is false when [`build_all`](Self::build_all) follows.
    pub(super) fn insert(&mut self, order: u32, rule: &Rule<A>, store: &Store<A>, building: bool) {
        self.prepare(rule, store);
        for cell in self.covered(rule) {
            let at = self.orders[cell].partition_point(|&other| other < order);
            self.orders[cell].insert(at, order);
            if building {
                self.build(cell, store);
            }
        }
    }

    pub(super) fn remove(&mut self, order: u32, rule: &Rule<A>, store: &Store<A>) {
        for cell in self.covered(rule) {
            self.orders[cell].retain(|&other| other != order);
            self.build(cell, store);
        }
    }

    pub(super) fn build_all(&mut self, store: &Store<A>) {
        (0..self.orders.len()).for_each(|cell| self.build(cell, store));
    }

    fn covered(&self, rule: &Rule<A>) -> Vec<usize> {
        let (low, high) = (rule.dst_ports.low(), rule.dst_ports.high());
        let columns = match rule.protocol {
            Some(protocol) => {
                let column = u32::from(self.column[usize::from(protocol)]);
                column..column + 1
            }
            None => 0..self.columns,
        };
        let classes = self
            .starts
            .range(low..=high)
            .map(|(_, &class)| u32::from(class));
        classes
            .flat_map(|class| columns.clone().map(move |c| (class, c)))
            .map(|(class, column)| (class * self.stride + column) as usize)
            .collect()
    }

    fn build(&mut self, cell: usize, store: &Store<A>) {
        std::mem::take(&mut self.leaves[cell]).give_back(&mut self.blocks);
        let orders = &self.orders[cell];
        let last = orders.iter().position(|order| is_certain(&store[order]));
        let orders = last.map_or(&orders[..], |last| &orders[..=last]);
        self.leaves[cell] = match (last, orders) {
            (Some(_), [only]) => Leaf::certain(*only),
            (Some(_) | None, orders) => {
                let rules = orders.iter().map(|order| (*order, store[order]));
                Leaf::store(&mut self.blocks, rules, Side::Src)
            }
        };
    }

    /// Makes `port` the first of a class.
    fn split(&mut self, port: u16, store: &Store<A>) {
        let before = self
            .starts
            .range(..=port)
            .next_back()
            .map(|(&start, &class)| (start, class));
        let (start, class) = before.expect("class 0 starts at port 0");
        if start == port {
            return;
        }
        let new = self.starts.len() as u16;
        let end = self
            .starts
            .range(port..)
            .next()
            .map_or(1 << 16, |(&next, _)| usize::from(next));
        self.class[usize::from(port)..end].fill(new);
        self.starts.insert(port, new);
        for column in 0..self.stride {
            let from = (u32::from(class) * self.stride + column) as usize;
            self.orders.push(self.orders[from].clone());
            self.leaves.push(Leaf::EMPTY);
            self.build(self.orders.len() - 1, store);
        }
    }

    /// Gives a protocol a column of its own.
    fn name(&mut self, protocol: u8, store: &Store<A>) {
        if self.column[usize::from(protocol)] != 0 || self.columns == 256 {
            return;
        }
        if self.columns == self.stride {
            self.widen();
        }
        let column = self.columns;
        self.column[usize::from(protocol)] = column as u8;
        self.columns += 1;
        for class in 0..self.starts.len() as u32 {
            // Until now the protocol went with those not named.
            let (from, to) = (class * self.stride, class * self.stride + column);
            self.orders[to as usize] = self.orders[from as usize].clone();
            self.build(to as usize, store);
        }
    }

    fn widen(&mut self) {
        let (old, new) = (self.stride as usize, self.stride as usize * 2);
        let classes = self.starts.len();
        let mut leaves = vec![Leaf::EMPTY; classes * new];
        let mut orders = vec![Vec::new(); classes * new];
        for class in 0..classes {
            for column in 0..old {
                leaves[class * new + column] = self.leaves[class * old + column];
                orders[class * new + column] =
                    std::mem::take(&mut self.orders[class * old + column]);
            }
        }
        (self.leaves, self.orders, self.stride) = (leaves, orders, new as u32);
    }
}

/// Whether a rule has nothing left to check once port and protocol are known.
fn is_certain<A: Address>(rule: &Rule<A>) -> bool {
    rule.src.length() == 0 && rule.dst.length() == 0 && rule.src_ports == PortRange::ANY
}
