//! Names: of labs, of their namespaces, nodes, pods and interfaces.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::LabError;

/// The interface that joins a node to the underlay.
pub const UNDERLAY_INTERFACE: &str = "eth0";
/// The interface of a pod.
pub const POD_INTERFACE: &str = "eth0";

/// The name of a lab: lower-case letters, digits and dashes, at most 32.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabName(String);

impl LabName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The namespace that holds the underlay's bridges, and the router between subnets.
    pub fn underlay(&self) -> Netns {
        Netns(format!("{self}-net"))
    }

    /// The namespace of node `node`, counted from one.
    pub fn node(&self, node: usize) -> Netns {
        Netns(format!("{self}-node{node}"))
    }

    /// The namespace of pod `pod` of node `node`, both counted from one.
    pub fn pod(&self, node: usize, pod: usize) -> Netns {
        Netns(format!("{self}-pod{node}-{pod}"))
    }

    /// The namespace of the lab's etcd.
    pub fn etcd(&self) -> Netns {
        Netns(format!("{self}-etcd"))
    }

    /// Whether `namespace` can only be one of this lab's.
    pub fn owns(&self, namespace: &str) -> bool {
        let numbers = |text: &str, parts: usize| {
            let fields: Vec<&str> = text.split('-').collect();
            fields.len() == parts
                && fields
                    .iter()
                    .all(|f| !f.is_empty() && f.bytes().all(|b| b.is_ascii_digit()))
        };
        let Some(rest) = namespace
            .strip_prefix(self.as_str())
            .and_then(|r| r.strip_prefix('-'))
        else {
            return false;
        };
        rest == "net"
            || rest == "etcd"
            || rest.strip_prefix("node").is_some_and(|n| numbers(n, 1))
            || rest.strip_prefix("pod").is_some_and(|n| numbers(n, 2))
    }
}

impl FromStr for LabName {
    type Err = LabError;

    fn from_str(name: &str) -> Result<Self, LabError> {
        let fits = !name.is_empty()
            && name.len() <= 32
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !name.starts_with('-')
            && !name.ends_with('-');
        if fits {
            Ok(Self(name.to_owned()))
        } else {
            Err(LabError::Invalid(format!(
                "{name:?} is no name for a lab: use lower-case letters, digits and inner dashes, \
                 at most 32"
            )))
        }
    }
}

impl TryFrom<String> for LabName {
    type Error = LabError;

    fn try_from(name: String) -> Result<Self, LabError> {
        name.parse()
    }
}

impl From<LabName> for String {
    fn from(name: LabName) -> Self {
        name.0
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A named network namespace, as `ip netns` lists it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Netns(String);

impl Netns {
    /// The namespace of this name, which need not be a lab's.
    pub fn named(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The file that stands for the namespace.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.0)
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_hurt_are_refused() {
        for bad in ["", "-a", "a-", "A", "a b", "a/b", "../x", &"a".repeat(33)] {
            assert!(bad.parse::<LabName>().is_err(), "{bad:?}");
        }
        assert_eq!(
            "demo-2".parse::<LabName>().unwrap().node(1).as_str(),
            "demo-2-node1"
        );
    }

    #[test]
    fn a_lab_owns_its_namespaces_and_not_a_longer_named_lab() {
        let lab: LabName = "a".parse().unwrap();
        for own in ["a-net", "a-etcd", "a-node1", "a-pod12-3"] {
            assert!(lab.owns(own), "{own}");
        }
        for other in [
            "a",
            "ab-net",
            "a-node1-net",
            "a-node",
            "a-pod1",
            "a-pod1-2-3",
            "b-net",
        ] {
            assert!(!lab.owns(other), "{other}");
        }
    }
}
