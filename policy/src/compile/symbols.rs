//! Labels as numbers: strings interned once, label sets as sorted pairs.

use std::sync::Arc;

use rustc_hash::FxHashMap;

/// An interned string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Symbol(u32);

/// A label: key and value.
pub(super) type Pair = (Symbol, Symbol);

/// Strings in use, and some that were.
#[derive(Default)]
pub(super) struct Symbols {
    by_text: FxHashMap<Arc<str>, Symbol>,
    texts: Vec<Option<Arc<str>>>,
    free: Vec<Symbol>,
    /// Strings that the last sweep left.
    left: usize,
}

/// Strings that may come after a sweep, besides as many as it left, before the next one.
const SLACK: usize = 1 << 16;

impl Symbols {
    pub(super) fn intern(&mut self, text: &str) -> Symbol {
        if let Some(&symbol) = self.by_text.get(text) {
            return symbol;
        }
        let symbol = self.free.pop().unwrap_or_else(|| {
            self.texts.push(None);
            Symbol(u32::try_from(self.texts.len() - 1).expect("fewer than 2^32 strings"))
        });
        let text: Arc<str> = text.into();
        self.texts[symbol.0 as usize] = Some(text.clone());
        self.by_text.insert(text, symbol);
        symbol
    }

    pub(super) fn text(&self, symbol: Symbol) -> &str {
        self.texts[symbol.0 as usize]
            .as_ref()
            .expect("labels and selectors hold live symbols")
    }

    /// Whether enough strings came to look for those that went.
    pub(super) fn is_due(&self) -> bool {
        self.by_text.len() > 2 * self.left + SLACK
    }

    /// Forgets all strings but those in use.
    pub(super) fn sweep(&mut self, used: Vec<Symbol>) {
        let mut keep = vec![false; self.texts.len()];
        for symbol in used {
            keep[symbol.0 as usize] = true;
        }
        for (text, index) in self.texts.iter_mut().zip(0..) {
            if !keep[index as usize]
                && let Some(text) = text.take()
            {
                self.by_text.remove(&text);
                self.free.push(Symbol(index));
            }
        }
        self.left = self.by_text.len();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_text.len()
    }

    /// Labels as pairs sorted by key.
    pub(super) fn pairs<'a>(
        &mut self,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Box<[Pair]> {
        let mut pairs: Vec<Pair> = labels
            .map(|(k, v)| (self.intern(k), self.intern(v)))
            .collect();
        pairs.sort_unstable();
        pairs.into()
    }
}

/// The value of a label in pairs sorted by key.
pub(super) fn value(pairs: &[Pair], key: Symbol) -> Option<Symbol> {
    pairs
        .binary_search_by_key(&key, |&(k, _)| k)
        .ok()
        .map(|i| pairs[i].1)
}
