//! The rules of one endpoint, direction and chain as one list, and the walk over it.
//!
//! Tiers follow each other in the list; the default of a tier is a rule at its end that matches
//! everything, and so is the end of the list. Where a match goes is settled when the program is
//! built: `Pass` names the entry where the next tier begins, a match in a staged policy the entry
//! behind that policy.

use std::sync::Arc;

use super::index::Index;
use super::registry::RuleId;
use super::rule::{CompiledRule, Packet};
use super::verdict::Verdict;
use crate::model::Action;

/// Programs up to this length are walked: their entries' headers lie in a few cache lines.
const WALKED: usize = if cfg!(test) { 3 } else { 24 };

/// The compiled rules of one policy or profile in one direction.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) rules: Box<[CompiledRule]>,
}

impl Block {
    /// A block of one rule that matches everything.
    pub(super) fn everything(id: RuleId, action: Action) -> Arc<Self> {
        Arc::new(Self {
            rules: [CompiledRule::everything(id, action)].into(),
        })
    }
}

#[derive(Debug)]
pub(super) struct Program {
    blocks: Box<[Arc<Block>]>,
    entries: Box<[Entry]>,
    /// Of a program that is too long to walk.
    index: Option<Index>,
    /// A rule asks for the source port.
    heeds_source_port: bool,
}

/// One rule in its place, with enough of it to refuse most packets at once.
#[derive(Clone, Copy, Debug)]
struct Entry {
    block: u32,
    rule: u16,
    /// 0 for any.
    protocol: u8,
    /// Bounds of the destination port.
    ports: (u16, u16),
    then: Then,
}

impl Entry {
    fn may_match(&self, packet: &Packet<'_>) -> bool {
        let port = packet.tuple.destination_port;
        (self.protocol == 0 || self.protocol == packet.tuple.protocol)
            && self.ports.0 <= port
            && port <= self.ports.1
    }
}

/// What a match leads to.
#[derive(Clone, Copy, Debug)]
enum Then {
    Allow,
    Deny,
    /// Note it and go on with the next entry.
    Log,
    /// Go on with this entry.
    Skip(u32),
    /// A staged rule: note it and go on with this entry.
    Staged(u32),
}

impl Program {
    /// Whether no policy has a say in it: all it has is its end.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.len() <= 1
    }

    /// A packet's source port may change the verdict.
    pub(super) fn heeds_source_port(&self) -> bool {
        self.heeds_source_port
    }

    /// Rules, the end included.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds to `verdict` what this program says, which decides, if only with its last entry.
    pub(super) fn evaluate(&self, packet: &Packet<'_>, verdict: &mut Verdict) {
        match &self.index {
            None => self.walk(packet, verdict),
            Some(index) => self.search(index, packet, verdict),
        }
    }

    fn walk(&self, packet: &Packet<'_>, verdict: &mut Verdict) {
        let mut at = 0;
        while at < self.entries.len() {
            if !(self.entries[at].may_match(packet) && self.rule(at).matches(packet)) {
                at += 1;
                continue;
            }
            match self.act(at, verdict) {
                Some(next) => at = next,
                None => return,
            }
        }
    }

    fn search(&self, index: &Index, packet: &Packet<'_>, verdict: &mut Verdict) {
        let mut at = 0;
        while let Some(found) =
            index.first(at, packet, |rule| self.rule(rule as usize).matches(packet))
        {
            match self.act(found as usize, verdict) {
                Some(next) => at = small(next),
                None => return,
            }
        }
    }

    fn rule(&self, at: usize) -> &CompiledRule {
        let entry = &self.entries[at];
        &self.blocks[entry.block as usize].rules[usize::from(entry.rule)]
    }

    /// Adds a match to the verdict. The entry to go on with; none when the verdict is final.
    fn act(&self, at: usize, verdict: &mut Verdict) -> Option<usize> {
        let id = self.rule(at).id;
        match self.entries[at].then {
            Then::Allow => verdict.decide(true, id),
            Then::Deny => verdict.decide(false, id),
            Then::Log => {
                verdict.logged.push(id);
                return Some(at + 1);
            }
            Then::Skip(to) => {
                verdict.passed.push(id);
                return Some(to as usize);
            }
            Then::Staged(to) => {
                verdict.staged.push(id);
                return Some(to as usize);
            }
        }
        None
    }
}

/// Lays out a program, tier by tier.
#[derive(Default)]
pub(super) struct Layout {
    blocks: Vec<Arc<Block>>,
    entries: Vec<Entry>,
    /// Entries of the tier or profile being laid out that skip to its end.
    passes: Vec<usize>,
}

impl Layout {
    /// Appends a policy's or profile's rules.
    pub(super) fn rules(&mut self, block: &Arc<Block>, staged: bool) {
        let index = small(self.blocks.len());
        let after = small(self.entries.len() + block.rules.len());
        self.blocks.push(block.clone());
        for (i, rule) in block.rules.iter().enumerate() {
            let at = self.entries.len();
            let then = match (staged, rule.action) {
                (true, Action::Log) => Then::Staged(small(at + 1)),
                (true, Action::Allow | Action::Deny | Action::Pass) => Then::Staged(after),
                (false, Action::Allow) => Then::Allow,
                (false, Action::Deny) => Then::Deny,
                (false, Action::Log) => Then::Log,
                (false, Action::Pass) => {
                    self.passes.push(at);
                    Then::Skip(0)
                }
            };
            self.entries.push(Entry {
                block: index,
                protocol: rule.protocol.unwrap_or(0),
                ports: rule.destination.bounds,
                rule: u16::try_from(i).expect("the model limits rules to 1024"),
                then,
            });
        }
    }

    /// Ends a tier or profile: what passed goes on behind `default`, if there is one.
    pub(super) fn end(&mut self, default: Option<&Arc<Block>>) {
        if let Some(default) = default {
            self.rules(default, false);
        }
        let after = small(self.entries.len());
        for at in self.passes.drain(..) {
            self.entries[at].then = Then::Skip(after);
        }
    }

    /// The program, which ends with `last`, a block that matches everything.
    pub(super) fn finish(mut self, last: &Arc<Block>) -> Program {
        self.end(Some(last));
        let rules: Vec<&CompiledRule> = self
            .entries
            .iter()
            .map(|e| &self.blocks[e.block as usize].rules[usize::from(e.rule)])
            .collect();
        let index = (rules.len() > WALKED).then(|| Index::new(&rules));
        Program {
            index,
            heeds_source_port: rules.iter().any(|rule| rule.heeds_source_port()),
            entries: self.entries.into(),
            blocks: self.blocks.into(),
        }
    }
}

fn small(n: usize) -> u32 {
    u32::try_from(n).expect("a program has fewer than 2^32 rules")
}
