//! What a pod hangs on.

use std::fmt;
use std::str::FromStr;

/// What a pod hangs on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum PodLink {
    /// A TAP in its namespace: the process reads it, and it goes with the process.
    Tap,
    /// A veth with an end on the node: programs hand its frames to the process, which it outlives.
    #[default]
    Veth,
}

impl fmt::Display for PodLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tap => "tap",
            Self::Veth => "veth",
        })
    }
}

impl FromStr for PodLink {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "tap" => Ok(Self::Tap),
            "veth" => Ok(Self::Veth),
            _ => Err("must be tap or veth".to_owned()),
        }
    }
}
