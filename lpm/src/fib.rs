//! What readers look addresses up in.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use crate::family::{Bits, Prefix};
use crate::value::Value;

/// The readers' side of a table.
pub trait Fib: Default + Clone + Send + Sync + 'static {
    /// The address as a number.
    type Bits: Bits;
    /// Sets or removes one prefix.
    fn set(&self, prefix: Prefix<Self::Bits>, value: Option<Value>);
    /// Replaces all.
    fn replace(&self, routes: BTreeMap<Prefix<Self::Bits>, Value>);
    /// Looks up one address.
    fn lookup(&self, bits: Self::Bits) -> Option<Value>;
}

/// A placeholder with the final interface: a map behind a lock.
#[derive(Clone, Default, Debug)]
pub struct Naive<B>(Arc<RwLock<BTreeMap<Prefix<B>, Value>>>);

impl<B: Bits> Fib for Naive<B> {
    type Bits = B;

    fn set(&self, prefix: Prefix<B>, value: Option<Value>) {
        let mut routes = self
            .0
            .write()
            .expect("no lookup panics while it holds the lock");
        match value {
            Some(value) => routes.insert(prefix, value),
            None => routes.remove(&prefix),
        };
    }

    fn replace(&self, routes: BTreeMap<Prefix<B>, Value>) {
        *self
            .0
            .write()
            .expect("no lookup panics while it holds the lock") = routes;
    }

    fn lookup(&self, bits: B) -> Option<Value> {
        let routes = self
            .0
            .read()
            .expect("no lookup panics while it holds the lock");
        (0..=B::WIDTH)
            .rev()
            .find_map(|len| routes.get(&Prefix::new(bits, len)).copied())
    }
}
