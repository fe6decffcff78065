//! The value a prefix maps to: a 16-bit index whose `Option` is 16 bits too.

use std::fmt;
use std::num::NonZeroU16;

/// A small integer, `0..=65_534`: the index of a next hop, an adjacency, a group of either.
///
/// It is kept as its successor, so `Option<Value>` takes two bytes and the number a table keeps
/// for an address (0: no route) *is* the `Option<Value>`. What does not fit in 65,535 indices
/// belongs behind one more array on the caller's side.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Value(NonZeroU16);

impl Value {
    /// The greatest index a table can keep.
    pub const MAX: Self = Self(NonZeroU16::MAX);

    /// The value of `index`, or `None` above [`Value::MAX`].
    pub const fn new(index: u32) -> Option<Self> {
        if index >= u16::MAX as u32 {
            return None;
        }
        match NonZeroU16::new(index as u16 + 1) {
            Some(successor) => Some(Self(successor)),
            None => None,
        }
    }

    /// The index.
    pub const fn index(self) -> usize {
        (self.0.get() - 1) as usize
    }

    /// What the tables keep: the successor of the index.
    pub(crate) const fn raw(self) -> u16 {
        self.0.get()
    }

    /// The inverse of [`Value::raw`]; 0 is no route.
    pub(crate) const fn from_raw(raw: u16) -> Option<Self> {
        match NonZeroU16::new(raw) {
            Some(successor) => Some(Self(successor)),
            None => None,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({})", self.index())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.index().fmt(f)
    }
}

impl From<Value> for u32 {
    fn from(value: Value) -> Self {
        Self::from(value.0.get() - 1)
    }
}

/// An index above [`Value::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueTooGreat(
    /// The index that does not fit.
    pub u32,
);

impl fmt::Display for ValueTooGreat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is above {}, the greatest value of a table",
            self.0,
            Value::MAX
        )
    }
}

impl std::error::Error for ValueTooGreat {}

impl TryFrom<u32> for Value {
    type Error = ValueTooGreat;

    fn try_from(index: u32) -> Result<Self, ValueTooGreat> {
        Self::new(index).ok_or(ValueTooGreat(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        assert_eq!(Value::new(0).unwrap().index(), 0);
        assert_eq!(Value::new(65_534), Some(Value::MAX));
        assert_eq!(Value::MAX.index(), 65_534);
        assert_eq!(Value::try_from(65_535), Err(ValueTooGreat(65_535)));
        assert_eq!(Value::from_raw(0), None);
        assert_eq!(size_of::<Option<Value>>(), 2);
    }
}
