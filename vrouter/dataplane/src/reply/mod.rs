//! Packets the router makes about others: ICMP errors and TCP resets.

pub(crate) mod icmp_error;
pub(crate) mod reset;
