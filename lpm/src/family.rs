//! The two address families, and how a table of each is looked up.

use std::fmt::Debug;
use std::hash::Hash;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use crate::batch::{one4, one6};
use crate::layout::{Fib, Fib4, Fib6};
use crate::prefix::{Bits, Prefix};
use crate::raw::{self, Pinned};
use crate::tables::Tables;
use crate::value::Value;

mod private {
    pub trait Sealed {}
}

/// An address family: [`V4`] or [`V6`].
pub trait Family: private::Sealed + Copy + Debug + Send + Sync + 'static {
    /// The standard library's address.
    type Address: Copy + Ord + Hash + Debug + Send + Sync + 'static;
    /// The `ipnet` prefix. Host bits are ignored by the tables and are 0 in what they return.
    type Net: Copy + Ord + Hash + Debug + Send + Sync + 'static;
    #[doc(hidden)]
    type Bits: Bits;
    #[doc(hidden)]
    type Fib: Fib<Bits = Self::Bits>;

    #[doc(hidden)]
    fn bits(address: Self::Address) -> Self::Bits;
    #[doc(hidden)]
    fn prefix(net: Self::Net) -> Prefix<Self::Bits>;
    #[doc(hidden)]
    fn net(prefix: Prefix<Self::Bits>) -> Self::Net;
    #[doc(hidden)]
    fn lookup(tables: &Pinned<'_>, key: Self::Address) -> u16;
    #[doc(hidden)]
    fn batch(tables: &Tables, keys: &[Self::Address], values: &mut [Option<Value>]);
}

/// IPv4.
#[derive(Clone, Copy, Debug)]
pub struct V4;

/// IPv6.
#[derive(Clone, Copy, Debug)]
pub struct V6;

impl private::Sealed for V4 {}
impl private::Sealed for V6 {}

macro_rules! family {
    ($family:ty, $address:ty, $net:ty, $number:ty, $fib:ty, $lookup:expr, $batch:path) => {
        impl Family for $family {
            type Address = $address;
            type Net = $net;
            type Bits = $number;
            type Fib = $fib;

            #[inline]
            fn bits(address: $address) -> $number {
                address.to_bits()
            }

            #[inline]
            fn prefix(net: $net) -> Prefix<$number> {
                Prefix::new(net.addr().to_bits(), net.prefix_len())
            }

            #[inline]
            fn net(prefix: Prefix<$number>) -> $net {
                <$net>::new_assert(<$address>::from_bits(prefix.bits), prefix.len)
            }

            #[inline]
            fn lookup(tables: &Pinned<'_>, key: $address) -> u16 {
                ($lookup)(tables, key)
            }

            #[inline]
            fn batch(tables: &Tables, keys: &[$address], values: &mut [Option<Value>]) {
                $batch(tables, keys, values);
            }
        }
    };
}

family!(
    V4,
    Ipv4Addr,
    Ipv4Net,
    u32,
    Fib4,
    |tables: &Pinned<'_>, key| one4(tables, key, tables.popcnt()),
    raw::batch4
);
family!(
    V6,
    Ipv6Addr,
    Ipv6Net,
    u128,
    Fib6,
    |tables: &Pinned<'_>, key| one6(tables, key),
    raw::batch6
);
