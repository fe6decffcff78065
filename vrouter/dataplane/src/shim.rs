//! temporary
#![allow(missing_docs)]
use std::net::IpAddr;
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointIndex(pub u32);
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Ingress,
    Egress,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketTuple {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub source_port: u16,
    pub destination_port: u16,
    pub icmp: Option<(u8, u8)>,
}
pub struct Verdict {
    pub allow: bool,
    pub rule: Option<u32>,
}
#[derive(Debug, Default)]
pub struct Compiled;
impl Compiled {
    pub fn evaluate(&self, _e: EndpointIndex, _d: Direction, _t: &PacketTuple) -> Verdict {
        Verdict {
            allow: true,
            rule: None,
        }
    }
}
