//! Programs built so far, each shared by all endpoints of the same policies and profiles.

use std::sync::{Arc, Weak};

use rustc_hash::FxHashMap;

use super::program::{Block, Layout, Program};
use super::registry::{Owner, Registry, RuleId, RuleInfo, RuleKind};
use crate::model::{Action, Direction, Name};

/// Programs built so far, shared by endpoints that have the same policies and profiles, and the
/// blocks that programs end with.
pub(super) struct Programs {
    built: FxHashMap<Vec<usize>, Weak<Program>>,
    /// Entries of all programs built so far.
    laid_out: u64,
    tier_defaults: FxHashMap<(Name, Direction), Arc<Block>>,
    pub(super) drop: Arc<Block>,
    pub(super) undecided: Arc<Block>,
    pub(super) forward: Arc<Block>,
    /// A profile nobody defined: it drops, as Felix's stand-in does.
    pub(super) unknown_profile: Arc<Block>,
}

impl Programs {
    pub(super) fn new() -> Self {
        Self {
            built: FxHashMap::default(),
            laid_out: 0,
            tier_defaults: FxHashMap::default(),
            drop: Block::everything(RuleId::NO_PROFILE, Action::Deny),
            undecided: Block::everything(RuleId::UNDECIDED, Action::Allow),
            forward: Block::everything(RuleId::FORWARD, Action::Allow),
            unknown_profile: Block::everything(RuleId::NO_PROFILE, Action::Deny),
        }
    }

    pub(super) fn tier_default(
        &mut self,
        tier: &Name,
        direction: Direction,
        registry: &mut Registry,
    ) -> Arc<Block> {
        let key = (tier.clone(), direction);
        let build = || {
            let info = RuleInfo {
                kind: RuleKind::TierDefault,
                tier: Some(tier.clone()),
                policy: None,
                profile: None,
                index: None,
                direction,
                action: Action::Deny,
                staged: false,
            };
            let ids = registry.assign(Owner::TierDefault(tier.clone()), direction, vec![info]);
            Block::everything(ids[0], Action::Deny)
        };
        self.tier_defaults.entry(key).or_insert_with(build).clone()
    }

    /// Entries of all programs built so far.
    pub(super) fn laid_out(&self) -> u64 {
        self.laid_out
    }

    /// Forgets programs that no endpoint has, once there are more than `most`.
    pub(super) fn forget_unused(&mut self, most: usize) {
        if self.built.len() > most {
            self.built.retain(|_, program| program.strong_count() > 0);
        }
    }

    /// The program of these parts and this end, built if it is not there.
    pub(super) fn share(&mut self, parts: &[Part], last: &Arc<Block>) -> Arc<Program> {
        let identity: Vec<usize> = parts
            .iter()
            .map(Part::identity)
            .chain([address(last)])
            .collect();
        if let Some(program) = self.built.get(&identity).and_then(Weak::upgrade) {
            return program;
        }
        let mut layout = Layout::default();
        for part in parts {
            match part {
                Part::Rules(block, staged) => layout.rules(block, *staged),
                Part::End(default) => layout.end(default.as_ref()),
            }
        }
        let program = Arc::new(layout.finish(last));
        self.laid_out += program.len() as u64;
        self.built.insert(identity, Arc::downgrade(&program));
        program
    }
}

/// A step of a program's layout.
pub(super) enum Part {
    Rules(Arc<Block>, bool),
    End(Option<Arc<Block>>),
}

impl Part {
    /// What tells this part from others: its block's address, which nothing else can have while a
    /// program that holds the block lives, and whether it ends a tier.
    fn identity(&self) -> usize {
        match self {
            Self::Rules(block, _) => address(block),
            Self::End(None) => 1,
            Self::End(Some(block)) => address(block) | 1,
        }
    }
}

fn address(block: &Arc<Block>) -> usize {
    Arc::as_ptr(block).addr()
}
