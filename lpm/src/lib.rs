//! Longest-prefix match tables, updated while they are read.
//!
//! A [`Table4`] or [`Table6`] maps `ipnet` prefixes to a [`Value`]. The table has one writer, its
//! owner; any number of [`Reader`]s look addresses up on other threads without locks.
//!
//! ```
//! use lpm::{Table4, Value};
//!
//! let mut table = Table4::new();
//! let (far, near) = (Value::new(1).unwrap(), Value::new(2).unwrap());
//! table.insert("10.0.0.0/8".parse().unwrap(), far);
//! table.insert("10.65.0.0/26".parse().unwrap(), near);
//!
//! let reader = table.reader();
//! let guard = reader.pin();
//! assert_eq!(guard.lookup("10.65.0.7".parse().unwrap()), Some(near));
//! assert_eq!(guard.lookup("10.65.0.64".parse().unwrap()), Some(far));
//! assert_eq!(guard.lookup("192.0.2.1".parse().unwrap()), None);
//! ```
//!
//! # What readers see
//!
//! A lookup sees each single-prefix change whole or not at all: an address never loses its covering
//! route while a more or less specific one comes or goes. For each address one store decides: that of
//! the word (32 slots: /24s of IPv4, /32s of IPv6), list entry or link by which it is reached, made
//! after all that it leads to. Addresses that share that cell change together, others one after the
//! other: a change of a prefix shorter than 19 (IPv6: 27) bits is always published in several stores,
//! and one with more specific prefixes below it may be, so two different addresses may show the new
//! and the old state for a moment. A batch is so many lookups and not a snapshot: of two keys of a
//! batch, even equal ones, either may show the older state.
//!
//! [`Table::load`] and [`Table::clear`] are seen whole even so: a guard has all of the old content or
//! all of the new. While a [`Guard`] lives, what it may look at is kept: pin once per batch of packets.
//!
//! # How it works
//!
//! Routes are flattened into runs of equal neighbours, found by counting bits. IPv4 takes two
//! dependent loads: one of 2^19 words of 32 slots, then a 16-bit leaf; IPv6 takes a link, a word, a
//! link, and for prefixes longer than 32 bits a list of up to 31 boundaries or further words. The
//! writer keeps the prefixes in a trie of bitmaps and *paints* what changes. The layout, its sources,
//! memory and measured costs are in the crate's `README.md`.
//!
//! | verb | cost on a full table |
//! |---|---|
//! | lookup | 2 loads (IPv4), 3 to 7 (IPv6, up to /48) |
//! | insert, remove | one descent of the trie, one word or list rewritten; more for short prefixes |
//! | get, longest match | one descent of the trie |
//! | covering, covered, iteration | one descent, then the matching part of the trie in order |
//! | load | the trie, then one pass over it; readers go on with the old content meanwhile |

mod batch;
mod cells;
mod family;
mod fib;
mod layout;
mod list;
mod prefix;
mod raw;
mod reader;
mod reference;
mod rib;
mod slots;
mod space;
mod store;
mod sync;
mod table;
mod tables;
mod value;
#[cfg(target_arch = "x86_64")]
mod vector;
mod words;

pub use family::{Family, V4, V6};
pub use reader::{Guard, Reader, Reader4, Reader6};
pub use reference::Reference;
pub use table::{Memory, Table, Table4, Table6};
pub use value::{Value, ValueTooGreat};
