//! The answer to a packet, with the rules that made it.

use super::registry::RuleId;

/// Rule numbers noted along the way, in order; what does not fit is counted alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotedRules {
    ids: [RuleId; Self::ROOM],
    len: u8,
    lost: u8,
}

impl NotedRules {
    /// Numbers that are kept.
    pub const ROOM: usize = 6;

    const NONE: Self = Self {
        ids: [RuleId::NO_ENDPOINT; Self::ROOM],
        len: 0,
        lost: 0,
    };

    pub(super) fn push(&mut self, id: RuleId) {
        if usize::from(self.len) < Self::ROOM {
            self.ids[usize::from(self.len)] = id;
            self.len += 1;
        } else {
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// The numbers that were kept.
    #[must_use]
    pub fn as_slice(&self) -> &[RuleId] {
        &self.ids[..usize::from(self.len)]
    }

    /// How many were not.
    #[must_use]
    pub fn lost(&self) -> u8 {
        self.lost
    }
}

/// What policy says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    /// Whether the packet may pass.
    pub allow: bool,
    /// The rule that decided.
    pub rule: RuleId,
    /// Rules of staged policies that matched: what they would have done. Count them, enforce
    /// nothing.
    pub staged: NotedRules,
    /// `Log` rules that matched on the way.
    pub logged: NotedRules,
    /// `Pass` rules that matched on the way.
    pub passed: NotedRules,
}

impl Verdict {
    pub(super) const fn drop(rule: RuleId) -> Self {
        Self {
            allow: false,
            rule,
            staged: NotedRules::NONE,
            logged: NotedRules::NONE,
            passed: NotedRules::NONE,
        }
    }

    pub(super) fn decide(&mut self, allow: bool, rule: RuleId) {
        (self.allow, self.rule) = (allow, rule);
    }

    pub(super) const fn allow(rule: RuleId) -> Self {
        Self {
            allow: true,
            rule,
            staged: NotedRules::NONE,
            logged: NotedRules::NONE,
            passed: NotedRules::NONE,
        }
    }

    /// Whether a rule or default decided; false when a `doNotTrack` or `preDNAT` chain had no
    /// match and the packet goes on to the next chain.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        self.rule != RuleId::UNDECIDED
    }
}
