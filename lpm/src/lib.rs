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

mod family;
mod fib;
mod link;
mod list;
mod raw;
mod reader;
mod reference;
mod rib;
mod slots;
mod space;
mod store;
mod sync;
mod table;
mod value;
mod words;

pub use family::{Family, V4, V6};
pub use reader::{Guard, Reader, Reader4, Reader6};
pub use reference::Reference;
pub use table::{Memory, Table, Table4, Table6};
pub use value::{Value, ValueTooGreat};
