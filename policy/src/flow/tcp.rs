//! What the packets of a session have shown so far, and how long it may therefore stay idle.
//!
//! Ten bits a session, no sequence numbers: what RFC 9293's flags say and which directions have
//! been seen. The meaning follows Calico's eBPF conntrack (`SYNs`, `ACKs`, `FINs`, `RST` of each
//! leg) with Linux's loose pick-up of connections already running.

use super::config::Timeouts;
use super::key::protocol;

/// TCP flag bits as they stand in byte 13 of the header (RFC 9293, 3.1).
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Acknowledgement field is valid.
    pub const ACK: u8 = 0x10;
}

/// Side of a session a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// As the first packet.
    Original,
    /// Against it.
    Reply,
}

impl Direction {
    /// 0 for original, 1 for reply.
    #[inline]
    pub const fn index(self) -> usize {
        match self {
            Self::Original => 0,
            Self::Reply => 1,
        }
    }
}

/// Where a session stands, for display and for its timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Only the first side has spoken; evicted first when the table is full.
    HalfOpen,
    /// Both sides have spoken (TCP: and the handshake is complete or was never seen).
    Established,
    /// TCP: a FIN from both sides.
    FinsSeen,
    /// TCP: a RST from either side.
    Reset,
}

/// The marks of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks(pub(super) u16);

impl Marks {
    pub(super) const BITS: u32 = 10;

    const SYN: [u16; 2] = [1 << 0, 1 << 1];
    const ACK: [u16; 2] = [1 << 2, 1 << 3];
    const FIN: [u16; 2] = [1 << 4, 1 << 5];
    const SEEN: [u16; 2] = [1 << 6, 1 << 7];
    const RST: u16 = 1 << 8;
    const LOOSE: u16 = 1 << 9;

    /// After the first packet.
    #[inline]
    pub(super) fn first(protocol: u8, tcp: u8) -> Self {
        let marks = Self(0).after(protocol, tcp, Direction::Original);
        if protocol == protocol::TCP && tcp & flags::SYN == 0 {
            Self(marks.0 | Self::LOOSE)
        } else {
            marks
        }
    }

    /// After one more packet.
    #[inline]
    pub(super) fn after(self, protocol: u8, tcp: u8, direction: Direction) -> Self {
        let side = direction.index();
        let mut marks = self.0 | Self::SEEN[side];
        if protocol == protocol::TCP {
            let on = |flag: u8, mark: u16| if tcp & flag != 0 { mark } else { 0 };
            marks |= on(flags::SYN, Self::SYN[side])
                | on(flags::ACK, Self::ACK[side])
                | on(flags::FIN, Self::FIN[side])
                | on(flags::RST, Self::RST);
        }
        Self(marks)
    }

    /// Whether this packet opens a connection anew over one that has ended: its ports are used
    /// again, and the policy must be asked again.
    #[inline]
    pub(super) fn reopened_by(self, protocol: u8, tcp: u8) -> bool {
        protocol == protocol::TCP
            && tcp & (flags::SYN | flags::ACK | flags::RST) == flags::SYN
            && matches!(self.state(protocol), State::FinsSeen | State::Reset)
    }

    pub(super) fn state(self, protocol: u8) -> State {
        let has = |mark: u16| self.0 & mark == mark;
        let both_seen = has(Self::SEEN[0] | Self::SEEN[1]);
        if protocol != protocol::TCP {
            return if both_seen {
                State::Established
            } else {
                State::HalfOpen
            };
        }
        let shaken = has(Self::SYN[0] | Self::SYN[1] | Self::ACK[0] | Self::ACK[1]);
        if has(Self::RST) {
            State::Reset
        } else if has(Self::FIN[0] | Self::FIN[1]) {
            State::FinsSeen
        } else if shaken || (has(Self::LOOSE) && both_seen) {
            State::Established
        } else {
            State::HalfOpen
        }
    }

    /// Idle time allowed, in milliseconds.
    pub(super) fn timeout_ms(self, protocol: u8, timeouts: &Timeouts) -> u64 {
        match protocol {
            protocol::TCP => match self.state(protocol) {
                State::HalfOpen => timeouts.tcp_syn_sent_ms,
                State::Established => timeouts.tcp_established_ms,
                State::FinsSeen => timeouts.tcp_fins_seen_ms,
                State::Reset => timeouts.tcp_reset_ms,
            },
            protocol::UDP | 136 => timeouts.udp_ms,
            protocol::ICMP | protocol::ICMPV6 => timeouts.icmp_ms,
            _ => timeouts.generic_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Direction::{Original, Reply};
    use super::*;

    const TCP: u8 = protocol::TCP;

    #[test]
    fn a_connection_from_handshake_to_close() {
        let mut marks = Marks::first(TCP, flags::SYN);
        let steps = [
            (flags::SYN | flags::ACK, Reply, State::HalfOpen),
            (flags::ACK, Original, State::Established),
            (flags::FIN | flags::ACK, Original, State::Established),
            (flags::FIN | flags::ACK, Reply, State::FinsSeen),
            (flags::ACK, Original, State::FinsSeen),
            (flags::RST, Original, State::Reset),
        ];
        assert_eq!(marks.state(TCP), State::HalfOpen);
        for (flags, direction, state) in steps {
            marks = marks.after(TCP, flags, direction);
            assert_eq!(marks.state(TCP), state);
        }
        assert!(marks.reopened_by(TCP, flags::SYN));
        assert!(!marks.reopened_by(TCP, flags::SYN | flags::ACK));
        assert!(u32::from(marks.0) < 1 << Marks::BITS);
    }

    #[test]
    fn a_flood_of_syns_or_of_acks_stays_half_open() {
        assert_eq!(Marks::first(TCP, flags::SYN).state(TCP), State::HalfOpen);
        let picked_up = Marks::first(TCP, flags::ACK);
        assert_eq!(
            picked_up.after(TCP, flags::ACK, Original).state(TCP),
            State::HalfOpen
        );
        assert_eq!(
            picked_up.after(TCP, flags::ACK, Reply).state(TCP),
            State::Established
        );
    }

    #[test]
    fn other_protocols_are_established_by_a_reply() {
        for (number, ms) in [(17, 60_000), (1, 5_000), (58, 5_000), (132, 600_000)] {
            let marks = Marks::first(number, 0);
            assert_eq!(marks.state(number), State::HalfOpen);
            assert_eq!(
                marks.after(number, 0, Reply).state(number),
                State::Established
            );
            assert_eq!(marks.timeout_ms(number, &Timeouts::default()), ms);
        }
    }
}
