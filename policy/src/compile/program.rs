//! The rules of one endpoint, direction and chain as one list, and the walk over it.
//!
//! Tiers follow each other in the list; the default of a tier is a rule at its end that matches
//! everything, and so is the end of the list. Where a match goes is settled when the program is
//! built: `Pass` names the entry where the next tier begins, a match in a staged policy the entry
//! behind that policy.

use std::cell::RefCell;
use std::sync::Arc;

use super::classifier::{Classifier, SEGMENT, Scratch};
use super::registry::RuleId;
use super::rule::{CompiledRule, Packet};
use super::snapshot::Verdict;
use crate::model::Action;

/// Programs up to this length are walked; classifying would cost as much.
const WALKED: usize = 6;

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
}

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
    segments: Box<[Classifier]>,
    needs_source: bool,
    needs_destination: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    block: u32,
    rule: u16,
    then: Then,
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
    /// Whether the packet's source must be looked up among the sets.
    pub(super) fn needs_source(&self) -> bool {
        self.needs_source
    }

    /// Whether the packet's destination must be looked up among the sets.
    pub(super) fn needs_destination(&self) -> bool {
        self.needs_destination
    }

    pub(super) fn evaluate(&self, packet: &Packet<'_>) -> Verdict {
        if self.segments.is_empty() {
            return self.walk(packet);
        }
        SCRATCH.with_borrow_mut(|scratch| self.classify(packet, scratch))
    }

    fn walk(&self, packet: &Packet<'_>) -> Verdict {
        let mut verdict = Verdict::drop(RuleId::NO_PROFILE);
        let mut at = 0;
        while at < self.entries.len() {
            match self.try_entry(at, packet, &mut verdict) {
                Some(next) => at = next,
                None => return verdict,
            }
        }
        verdict
    }

    fn classify(&self, packet: &Packet<'_>, scratch: &mut Scratch) -> Verdict {
        let mut verdict = Verdict::drop(RuleId::NO_PROFILE);
        let mut at = 0;
        for (i, segment) in self.segments.iter().enumerate() {
            let base = i * SEGMENT;
            if at >= base + SEGMENT {
                continue;
            }
            segment.prepare(packet, scratch);
            while let Some(found) = segment.next(at - base, scratch) {
                match self.try_entry(base + found, packet, &mut verdict) {
                    Some(next) => at = next,
                    None => return verdict,
                }
                if at >= base + SEGMENT {
                    break;
                }
            }
            at = at.max(base + SEGMENT);
        }
        verdict
    }

    /// Matches one entry: where to go on, or none when the verdict is final.
    fn try_entry(&self, at: usize, packet: &Packet<'_>, verdict: &mut Verdict) -> Option<usize> {
        let entry = self.entries[at];
        let rule = &self.blocks[entry.block as usize].rules[usize::from(entry.rule)];
        if !rule.matches(packet) {
            return Some(at + 1);
        }
        match entry.then {
            Then::Allow => {
                verdict.decide(true, rule.id);
                None
            }
            Then::Deny => {
                verdict.decide(false, rule.id);
                None
            }
            Then::Log => {
                verdict.logged.push(rule.id);
                Some(at + 1)
            }
            Then::Skip(to) => Some(to as usize),
            Then::Staged(to) => {
                verdict.staged.push(rule.id);
                Some(to as usize)
            }
        }
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
            let rule = u16::try_from(i).expect("the model limits rules to 1024");
            self.entries.push(Entry {
                block: index,
                rule,
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
        let segments = if rules.len() <= WALKED {
            Box::default()
        } else {
            rules.chunks(SEGMENT).map(Classifier::new).collect()
        };
        Program {
            needs_source: rules.iter().any(|r| r.source.needs_members()),
            needs_destination: rules.iter().any(|r| r.destination.needs_members()),
            segments,
            entries: self.entries.into(),
            blocks: self.blocks.into(),
        }
    }
}

fn small(n: usize) -> u32 {
    u32::try_from(n).expect("a program has fewer than 2^32 rules")
}
