//! Lookups: a handle any thread may own, and the guard under which it reads.

use std::fmt;
use std::marker::PhantomData;

use crate::family::{Family, V4, V6};
use crate::raw::{Pinned, Subscriber};
use crate::value::Value;

/// Reads a [`Table4`](crate::Table4).
pub type Reader4 = Reader<V4>;
/// Reads a [`Table6`](crate::Table6).
pub type Reader6 = Reader<V6>;

/// A handle for lookups in a table while its writer changes it. Cloning it is cheap; it may
/// outlive the table, whose last content it then keeps.
pub struct Reader<F: Family> {
    tables: Subscriber,
    family: PhantomData<F>,
}

impl<F: Family> Reader<F> {
    pub(crate) fn new(tables: Subscriber) -> Self {
        Self {
            tables,
            family: PhantomData,
        }
    }

    /// Opens the table for lookups on this thread. Never waits.
    ///
    /// Pin once per batch of packets: while a guard lives, nothing the writer replaces is freed.
    pub fn pin(&self) -> Guard<'_, F> {
        Guard {
            tables: self.tables.pin(),
            family: PhantomData,
        }
    }
}

impl<F: Family> Clone for Reader<F> {
    fn clone(&self) -> Self {
        Self::new(self.tables.clone())
    }
}

impl<F: Family> fmt::Debug for Reader<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

/// A table opened for lookups. Stays on its thread.
pub struct Guard<'r, F: Family> {
    tables: Pinned<'r>,
    family: PhantomData<F>,
}

impl<F: Family> Guard<'_, F> {
    /// The value of the longest prefix that holds `address`.
    #[inline]
    pub fn lookup(&self, address: F::Address) -> Option<Value> {
        Value::from_raw(F::lookup(&self.tables, address))
    }

    /// Looks up each of `addresses` into the same place of `values`: faster than one by one.
    ///
    /// # Panics
    ///
    /// When the two differ in length.
    pub fn lookup_batch(&self, addresses: &[F::Address], values: &mut [Option<Value>]) {
        assert_eq!(addresses.len(), values.len(), "one value for each address");
        F::batch(&self.tables, addresses, values);
    }
}

#[cfg(all(test, not(loom)))]
impl<F: Family> Guard<'_, F> {
    pub(crate) fn tables(&self) -> &crate::tables::Tables {
        &self.tables
    }
}

impl<F: Family> fmt::Debug for Guard<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}
