//! Labels as numbers: strings interned once, label sets as sorted pairs.

use std::sync::Arc;

use rustc_hash::FxHashMap;

/// An interned string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Symbol(u32);

/// A label: key and value.
pub(super) type Pair = (Symbol, Symbol);

/// All strings seen so far.
#[derive(Default)]
pub(super) struct Symbols {
    by_text: FxHashMap<Arc<str>, Symbol>,
    texts: Vec<Arc<str>>,
}

impl Symbols {
    pub(super) fn intern(&mut self, text: &str) -> Symbol {
        if let Some(&symbol) = self.by_text.get(text) {
            return symbol;
        }
        let symbol = Symbol(u32::try_from(self.texts.len()).expect("fewer than 2^32 strings"));
        let text: Arc<str> = text.into();
        self.texts.push(text.clone());
        self.by_text.insert(text, symbol);
        symbol
    }

    pub(super) fn text(&self, symbol: Symbol) -> &str {
        &self.texts[symbol.0 as usize]
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
