//! The table: rules in, the first match out.
//!
//! Each rule is filed where it is found among the fewest others: by source, by destination, or
//! by destination port and protocol. A lookup asks all three, the ports first.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

use super::axis::{Axis, SHORTEST, Store};
use super::block::Side;
use super::ports::Ports;
use super::rule::{Address, Prefix, Rule};

/// Why a rule was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// Another rule has this order.
    #[error("another rule has the order {0}")]
    Occupied(u32),
    /// The order is [`u32::MAX`], which stands for no rule.
    #[error("the order 4294967295 stands for no rule")]
    Reserved,
    /// The table has [`MOST`] rules.
    #[error("the table has as many rules as it can hold")]
    Full,
}

/// Rules a table holds at most.
pub const MOST: usize = 1 << 20;

/// Prefixes a rule's prefix may enclose before another way is preferred: its copies on an axis.
const NESTED: usize = 128;
/// Cells of the ports a rule may take part in, likewise.
const CELLS: usize = 4096;
/// Rules of one prefix, or one port and protocol, before another way is preferred.
const CROWD: u32 = 32;

/// Where a rule is filed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Src,
    Dst,
    Ports,
    /// Too wide for all of them: compared one by one.
    Rest,
}

type Crowds<K> = HashMap<K, u32, FxBuildHasher>;

/// A first-match table over five fields. `Acl<u32>` is for IPv4, `Acl<u128>` for IPv6.
///
/// Rules have an *order*, a number of the caller's that is theirs alone; the lowest that matches
/// wins. Numbers may have gaps, so that rules can come in between.
#[derive(Clone, Debug)]
pub struct Acl<A: Address> {
    store: Store<A>,
    groups: HashMap<u32, Group, FxBuildHasher>,
    pub(super) src: Axis<A>,
    pub(super) dst: Axis<A>,
    pub(super) ports: Ports<A>,
    /// Ascending by order.
    pub(super) rest: Vec<(u32, Rule<A>)>,
    /// Shift by which orders fit the entries of the axes.
    pub(super) scale: u32,
    src_crowds: Crowds<Prefix<A>>,
    dst_crowds: Crowds<Prefix<A>>,
    port_crowds: Crowds<(Option<u8>, u16, u16)>,
}

impl<A: Address> Default for Acl<A> {
    fn default() -> Self {
        Self {
            store: Store::default(),
            groups: HashMap::default(),
            src: Axis::new(Side::Dst),
            dst: Axis::new(Side::Src),
            ports: Ports::new(),
            rest: Vec::new(),
            scale: 0,
            src_crowds: Crowds::default(),
            dst_crowds: Crowds::default(),
            port_crowds: Crowds::default(),
        }
    }
}

impl<A: Address> Acl<A> {
    /// A table of rules in their order: the first is rule 0. Quicker than one insert a rule.
    pub fn build(rules: &[Rule<A>]) -> Result<Self, InsertError> {
        if rules.len() > MOST {
            return Err(InsertError::Full);
        }
        let mut table = Self::default();
        for (order, rule) in (0u32..).zip(rules) {
            table.store.insert(order, *rule);
            table.count(rule);
        }
        table.scale = scale_for(rules.len().max(1) as u32 - 1);
        // Long prefixes first: then it is known how many of them a shorter one encloses.
        let mut orders: Vec<u32> = (0..rules.len() as u32).collect();
        orders.sort_by_key(|&order| {
            let rule = &rules[order as usize];
            std::cmp::Reverse(rule.src.length().max(rule.dst.length()))
        });
        let mut by_ports = Vec::new();
        for order in orders {
            let rule = &rules[order as usize];
            let group = table.choose(rule);
            table.groups.insert(order, group);
            match group {
                Group::Src => table.src.file(order, rule),
                Group::Dst => table.dst.file(order, rule),
                Group::Ports => {
                    table.ports.prepare(rule, &table.store);
                    by_ports.push(order);
                }
                Group::Rest => table.rest.push((order, *rule)),
            }
        }
        by_ports.sort_unstable();
        for order in by_ports {
            table
                .ports
                .insert(order, &rules[order as usize], &table.store, false);
        }
        table.ports.build_all(&table.store);
        table.src.build_all(&table.store, table.scale);
        table.dst.build_all(&table.store, table.scale);
        table.rest.sort_unstable_by_key(|(order, _)| *order);
        Ok(table)
    }

    /// Adds a rule.
    pub fn insert(&mut self, order: u32, rule: Rule<A>) -> Result<(), InsertError> {
        if order == u32::MAX {
            return Err(InsertError::Reserved);
        }
        if self.store.contains_key(&order) {
            return Err(InsertError::Occupied(order));
        }
        if self.store.len() >= MOST {
            return Err(InsertError::Full);
        }
        self.store.insert(order, rule);
        self.count(&rule);
        let scale = scale_for(order);
        if scale > self.scale {
            self.scale = scale;
            self.src.rescale(scale);
            self.dst.rescale(scale);
        }
        let group = self.choose(&rule);
        self.groups.insert(order, group);
        match group {
            Group::Src => {
                self.src.file(order, &rule);
                self.src.rebuild(&rule, &self.store, self.scale);
            }
            Group::Dst => {
                self.dst.file(order, &rule);
                self.dst.rebuild(&rule, &self.store, self.scale);
            }
            Group::Ports => self.ports.insert(order, &rule, &self.store, true),
            Group::Rest => {
                let at = self.rest.partition_point(|(other, _)| *other < order);
                self.rest.insert(at, (order, rule));
            }
        }
        Ok(())
    }

    /// Takes the rule of this order out.
    pub fn remove(&mut self, order: u32) -> Option<Rule<A>> {
        let rule = *self.store.get(&order)?;
        match self
            .groups
            .remove(&order)
            .expect("every rule stored has a group")
        {
            Group::Src => {
                self.src.unfile(order, &rule);
                self.src.rebuild(&rule, &self.store, self.scale);
            }
            Group::Dst => {
                self.dst.unfile(order, &rule);
                self.dst.rebuild(&rule, &self.store, self.scale);
            }
            Group::Ports => self.ports.remove(order, &rule, &self.store),
            Group::Rest => self.rest.retain(|(other, _)| *other != order),
        }
        self.store.remove(&order);
        self.uncount(&rule);
        Some(rule)
    }

    /// The rule of this order.
    pub fn rule(&self, order: u32) -> Option<&Rule<A>> {
        self.store.get(&order)
    }

    /// Rules in the table.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.store.is_empty()
    }

    /// Bytes that lookups read (the rules themselves, kept for changes, come on top).
    pub fn bytes(&self) -> usize {
        let rest = self.rest.len() * size_of::<(u32, Rule<A>)>();
        self.src.bytes() + self.dst.bytes() + self.ports.bytes() + rest
    }

    /// Rules filed by source, by destination, by ports, and not at all.
    pub fn groups(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for group in self.groups.values() {
            counts[*group as usize] += 1;
        }
        counts
    }

    fn choose(&self, rule: &Rule<A>) -> Group {
        let axis = |axis: &Axis<A>, prefix: Prefix<A>, crowds: &Crowds<Prefix<A>>| {
            let crowd = crowds.get(&prefix).copied().unwrap_or(0);
            let nested = || axis.nested(prefix, NESTED + 1) <= NESTED;
            (prefix.length() >= SHORTEST && nested()).then_some(crowd)
        };
        let src = axis(&self.src, rule.src, &self.src_crowds).map(|crowd| (crowd, Group::Src));
        let dst = axis(&self.dst, rule.dst, &self.dst_crowds).map(|crowd| (crowd, Group::Dst));
        let best = src.into_iter().chain(dst).min_by_key(|(crowd, _)| *crowd);
        let ports = || {
            let crowd = self.port_crowds.get(&port_key(rule)).copied().unwrap_or(0);
            (self.ports.cells(rule) <= CELLS).then_some(crowd)
        };
        match best {
            Some((crowd, group)) if crowd <= CROWD => group,
            Some((crowd, group)) => match ports() {
                Some(other) if other < crowd => Group::Ports,
                Some(_) | None => group,
            },
            None if ports().is_some() => Group::Ports,
            None => Group::Rest,
        }
    }

    fn count(&mut self, rule: &Rule<A>) {
        *self.src_crowds.entry(rule.src).or_default() += 1;
        *self.dst_crowds.entry(rule.dst).or_default() += 1;
        *self.port_crowds.entry(port_key(rule)).or_default() += 1;
    }

    fn uncount(&mut self, rule: &Rule<A>) {
        decrease(&mut self.src_crowds, &rule.src);
        decrease(&mut self.dst_crowds, &rule.dst);
        decrease(&mut self.port_crowds, &port_key(rule));
    }
}

fn decrease<K: std::hash::Hash + Eq>(crowds: &mut Crowds<K>, key: &K) {
    if let Some(crowd) = crowds.get_mut(key) {
        *crowd -= 1;
        if *crowd == 0 {
            crowds.remove(key);
        }
    }
}

fn port_key<A>(rule: &Rule<A>) -> (Option<u8>, u16, u16) {
    (rule.protocol, rule.dst_ports.low(), rule.dst_ports.high())
}

fn scale_for(highest: u32) -> u32 {
    // The entries of the axes have ten bits.
    (32 - highest.leading_zeros()).saturating_sub(10)
}
