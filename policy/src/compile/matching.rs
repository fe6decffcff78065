//! Which of many selectors match an item's labels.
//!
//! Each selector is filed under labels of which it needs at least one: `a == 'b' && …` under the
//! pair, `has(a)` under the key, an `||` under those of all its sides. Only what cannot be filed
//! is tried on every item.

use rustc_hash::FxHashMap;

use super::symbols::{Pair, Symbol, Symbols, value};
use crate::selector::Expr;

/// A selector over interned labels.
#[derive(Clone, Debug)]
pub(super) enum Matcher {
    Everything,
    Has(Symbol),
    Equal(Symbol, Symbol),
    NotEqual(Symbol, Symbol),
    In(Symbol, Box<[Symbol]>),
    NotIn(Symbol, Box<[Symbol]>),
    Contains(Symbol, Box<str>),
    StartsWith(Symbol, Box<str>),
    EndsWith(Symbol, Box<str>),
    Not(Box<Matcher>),
    And(Box<[Matcher]>),
    Or(Box<[Matcher]>),
}

impl Matcher {
    pub(super) fn new(expr: &Expr, symbols: &mut Symbols) -> Self {
        let mut many = |operands: &[Expr]| {
            operands
                .iter()
                .map(|o| Self::new(o, symbols))
                .collect::<Box<[_]>>()
        };
        match expr {
            Expr::All | Expr::Global => Self::Everything,
            Expr::Not(operand) => Self::Not(Box::new(Self::new(operand, symbols))),
            Expr::And(operands) => Self::And(many(operands)),
            Expr::Or(operands) => Self::Or(many(operands)),
            Expr::Has(key) => Self::Has(symbols.intern(key.as_str())),
            Expr::Equal(key, v) => {
                Self::Equal(symbols.intern(key.as_str()), symbols.intern(v.as_str()))
            }
            Expr::NotEqual(key, v) => {
                Self::NotEqual(symbols.intern(key.as_str()), symbols.intern(v.as_str()))
            }
            Expr::In(key, set) => Self::In(
                symbols.intern(key.as_str()),
                set.iter().map(|v| symbols.intern(v.as_str())).collect(),
            ),
            Expr::NotIn(key, set) => Self::NotIn(
                symbols.intern(key.as_str()),
                set.iter().map(|v| symbols.intern(v.as_str())).collect(),
            ),
            Expr::Contains(key, part) => {
                Self::Contains(symbols.intern(key.as_str()), part.as_str().into())
            }
            Expr::StartsWith(key, part) => {
                Self::StartsWith(symbols.intern(key.as_str()), part.as_str().into())
            }
            Expr::EndsWith(key, part) => {
                Self::EndsWith(symbols.intern(key.as_str()), part.as_str().into())
            }
        }
    }

    /// Calls `each` with every symbol the selector holds.
    fn each_symbol(&self, each: &mut impl FnMut(Symbol)) {
        match self {
            Self::Everything => {}
            Self::Has(key)
            | Self::Contains(key, _)
            | Self::StartsWith(key, _)
            | Self::EndsWith(key, _) => each(*key),
            Self::Equal(key, v) | Self::NotEqual(key, v) => [*key, *v].into_iter().for_each(each),
            Self::In(key, set) | Self::NotIn(key, set) => {
                [*key].into_iter().chain(set.iter().copied()).for_each(each);
            }
            Self::Not(operand) => operand.each_symbol(each),
            Self::And(operands) | Self::Or(operands) => {
                operands
                    .iter()
                    .for_each(|operand| operand.each_symbol(each));
            }
        }
    }

    pub(super) fn matches(&self, labels: &[Pair], symbols: &Symbols) -> bool {
        let text = |key| value(labels, key).map(|v| symbols.text(v));
        match self {
            Self::Everything => true,
            Self::Has(key) => value(labels, *key).is_some(),
            Self::Equal(key, wanted) => value(labels, *key) == Some(*wanted),
            Self::NotEqual(key, refused) => value(labels, *key) != Some(*refused),
            Self::In(key, set) => value(labels, *key).is_some_and(|v| set.contains(&v)),
            Self::NotIn(key, set) => value(labels, *key).is_none_or(|v| !set.contains(&v)),
            Self::Contains(key, part) => text(*key).is_some_and(|v| v.contains(&**part)),
            Self::StartsWith(key, part) => text(*key).is_some_and(|v| v.starts_with(&**part)),
            Self::EndsWith(key, part) => text(*key).is_some_and(|v| v.ends_with(&**part)),
            Self::Not(operand) => !operand.matches(labels, symbols),
            Self::And(operands) => operands.iter().all(|o| o.matches(labels, symbols)),
            Self::Or(operands) => operands.iter().any(|o| o.matches(labels, symbols)),
        }
    }
}

impl Matcher {
    /// Labels of which an item must have one for the selector to match; none when there are no
    /// such labels. Of an `&&` the side with the lowest cost counts.
    pub(super) fn needs(&self, cost: &impl Fn(&[Need]) -> usize) -> Option<Vec<Need>> {
        match self {
            Self::Equal(key, v) => Some(vec![Need::Pair((*key, *v))]),
            Self::In(key, set) => Some(set.iter().map(|v| Need::Pair((*key, *v))).collect()),
            Self::Has(key)
            | Self::Contains(key, _)
            | Self::StartsWith(key, _)
            | Self::EndsWith(key, _) => Some(vec![Need::Key(*key)]),
            Self::And(operands) => operands
                .iter()
                .filter_map(|o| o.needs(cost))
                .min_by_key(|needs| cost(needs)),
            Self::Or(operands) => {
                let sides: Option<Vec<_>> = operands.iter().map(|o| o.needs(cost)).collect();
                sides.map(|sides| {
                    let mut all: Vec<Need> = Vec::new();
                    for need in sides.into_iter().flatten() {
                        if !all.contains(&need) {
                            all.push(need);
                        }
                    }
                    all
                })
            }
            Self::Everything | Self::NotEqual(..) | Self::NotIn(..) | Self::Not(_) => None,
        }
    }
}

/// A label that a selector needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Pair(Pair),
    Key(Symbol),
}

/// Selectors by identifier, filed by what they need.
pub(super) struct MatchIndex<Id> {
    by_pair: FxHashMap<Pair, Vec<Id>>,
    by_key: FxHashMap<Symbol, Vec<Id>>,
    anywhere: Vec<Id>,
    filed: FxHashMap<Id, (Matcher, Option<Vec<Need>>)>,
}

impl<Id> Default for MatchIndex<Id> {
    fn default() -> Self {
        Self {
            by_pair: FxHashMap::default(),
            by_key: FxHashMap::default(),
            anywhere: Vec::new(),
            filed: FxHashMap::default(),
        }
    }
}

impl<Id: Copy + Ord + std::hash::Hash> MatchIndex<Id> {
    pub(super) fn is_empty(&self) -> bool {
        self.filed.is_empty()
    }

    pub(super) fn insert(&mut self, id: Id, matcher: Matcher) {
        self.remove(id);
        let needs = matcher.needs(&|needs| self.crowd(needs));
        match &needs {
            None => self.anywhere.push(id),
            Some(needs) => {
                for need in needs {
                    match need {
                        Need::Pair(pair) => self.by_pair.entry(*pair).or_default().push(id),
                        Need::Key(key) => self.by_key.entry(*key).or_default().push(id),
                    }
                }
            }
        }
        self.filed.insert(id, (matcher, needs));
    }

    pub(super) fn remove(&mut self, id: Id) {
        let Some((_, needs)) = self.filed.remove(&id) else {
            return;
        };
        let drop_from = |list: &mut Vec<Id>| list.retain(|&other| other != id);
        match needs {
            None => drop_from(&mut self.anywhere),
            Some(needs) => {
                for need in needs {
                    match need {
                        Need::Pair(pair) => {
                            if let Some(list) = self.by_pair.get_mut(&pair) {
                                drop_from(list);
                                if list.is_empty() {
                                    self.by_pair.remove(&pair);
                                }
                            }
                        }
                        Need::Key(key) => {
                            if let Some(list) = self.by_key.get_mut(&key) {
                                drop_from(list);
                                if list.is_empty() {
                                    self.by_key.remove(&key);
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Calls `each` with every symbol that a selector holds.
    pub(super) fn each_symbol(&self, each: &mut impl FnMut(Symbol)) {
        self.filed
            .values()
            .for_each(|(matcher, _)| matcher.each_symbol(each));
    }

    /// Whether one selector matches.
    pub(super) fn matches(&self, id: Id, labels: &[Pair], symbols: &Symbols) -> bool {
        self.filed
            .get(&id)
            .is_some_and(|(matcher, _)| matcher.matches(labels, symbols))
    }

    /// The identifiers of all selectors that match, sorted, into `found`.
    pub(super) fn find(&self, labels: &[Pair], symbols: &Symbols, found: &mut Vec<Id>) {
        found.clear();
        found.extend_from_slice(&self.anywhere);
        for &(key, v) in labels {
            if let Some(list) = self.by_pair.get(&(key, v)) {
                found.extend_from_slice(list);
            }
            if let Some(list) = self.by_key.get(&key) {
                found.extend_from_slice(list);
            }
        }
        found.sort_unstable();
        found.dedup();
        found.retain(|&id| self.matches(id, labels, symbols));
    }

    /// How many selectors are filed under these labels; a key counts for more than a pair, for
    /// more items have it.
    fn crowd(&self, needs: &[Need]) -> usize {
        needs
            .iter()
            .map(|need| match need {
                Need::Pair(pair) => 1 + self.by_pair.get(pair).map_or(0, Vec::len),
                Need::Key(key) => 64 + self.by_key.get(key).map_or(0, Vec::len),
            })
            .sum()
    }
}
