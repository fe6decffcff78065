//! A value and the text its author gave it, for what Calico stores and shows as it was given: a
//! prefix without its length, with host bits, an IPv6 address in capital letters, a selector.

use std::fmt;
use std::ops::Deref;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Serialize, Serializer};

/// A value that prints as its author wrote it.
///
/// ```
/// use vrouter_api::Written;
/// let net: Written<ipnet::IpNet> = "10.0.0.0/8".parse::<ipnet::IpNet>().unwrap().into();
/// assert_eq!(net.to_string(), "10.0.0.0/8");
/// assert_eq!(net.prefix_len(), 8);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Written<T> {
    value: T,
    /// Absent when the value prints as it was written.
    text: Option<Box<str>>,
}

impl<T: fmt::Display> Written<T> {
    /// The value that `text` stands for.
    pub(crate) fn new(value: T, text: &str) -> Written<T> {
        let text = (value.to_string() != text).then(|| text.into());
        Written { value, text }
    }
}

impl<T> Written<T> {
    /// Whether the author wrote nothing but white space.
    pub(crate) fn is_blank(&self) -> bool {
        self.text
            .as_deref()
            .is_some_and(|text| text.trim().is_empty())
    }
}

impl<T> Deref for Written<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> From<T> for Written<T> {
    fn from(value: T) -> Written<T> {
        Written { value, text: None }
    }
}

impl From<Written<IpNet>> for IpNet {
    fn from(written: Written<IpNet>) -> IpNet {
        written.value
    }
}

impl From<Written<Ipv4Net>> for IpNet {
    fn from(written: Written<Ipv4Net>) -> IpNet {
        IpNet::V4(written.value)
    }
}

impl From<Written<Ipv6Net>> for IpNet {
    fn from(written: Written<Ipv6Net>) -> IpNet {
        IpNet::V6(written.value)
    }
}

impl<T: fmt::Display> fmt::Display for Written<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.write_str(text),
            None => self.value.fmt(f),
        }
    }
}

impl<T: fmt::Display> Serialize for Written<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
