//! What a workload gets from its gateway: echo replies, and names where its node answers them.

use encap::{icmp, protocol};
use policy::model::Direction;

use super::{Found, Question, Verdict, Walk};

/// The port of DNS (RFC 1035).
const DNS: u16 = 53;

impl Question<'_> {
    /// Decides a packet of a workload to its gateway.
    pub(super) fn gateway(&self, from: &Found, walk: &mut Walk) {
        let packet = &walk.packet;
        if matches!(packet.protocol, protocol::ICMP | protocol::ICMPV6)
            && icmp::is_echo_request(packet.icmp_type)
        {
            "the gateway answers echo requests before policy".clone_into(&mut walk.because);
            return;
        }
        let names = self.names.filter(|_| self.node == Some(&from.node));
        let asks_name = matches!(packet.protocol, protocol::TCP | protocol::UDP)
            && packet.destination_port == DNS;
        if !asks_name || names == Some(false) {
            walk.verdict = Verdict::Deny;
            walk.because = if asks_name {
                format!("names are off in vrouterd of {}", from.node)
            } else {
                "the gateway answers echo requests and questions for names alone".to_owned()
            };
            return;
        }
        if names.is_none() {
            let note = format!("vrouterd of {} answers if its names are on", from.node);
            walk.notes.push(note);
        }
        walk.egress = self.side(from, Direction::Egress, walk);
    }
}
