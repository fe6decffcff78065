//! Packets for the tests, built by etherparse so that none of our own code made them.
#![allow(dead_code, reason = "each test file uses its part")]

use etherparse::{
    IpFragOffset, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader, UdpHeader,
};
use proptest::prelude::*;

/// A TCP packet's changeable parts.
#[derive(Clone, Debug)]
pub(crate) struct Tcp {
    pub(crate) v6: bool,
    pub(crate) host: u8,
    pub(crate) port: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: u32,
    pub(crate) window: u16,
    pub(crate) flags: u8,
    pub(crate) options: Vec<u8>,
    pub(crate) identification: u16,
    pub(crate) dont_fragment: bool,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    pub(crate) payload: Vec<u8>,
}

impl Default for Tcp {
    fn default() -> Self {
        Self {
            v6: false,
            host: 1,
            port: 40000,
            sequence: 1000,
            acknowledgment: 77,
            window: 501,
            flags: 0x10,
            options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            identification: 100,
            dont_fragment: true,
            ttl: 64,
            tos: 0,
            payload: Vec::new(),
        }
    }
}

fn v4_header(tcp: &Tcp, protocol: IpNumber, length: usize) -> Vec<u8> {
    let mut header = Ipv4Header::new(
        u16::try_from(length).expect("test packets are short"),
        tcp.ttl,
        protocol,
        [10, 0, 0, tcp.host],
        [10, 0, 1, 2],
    )
    .expect("test packets are short");
    header.identification = tcp.identification;
    header.dont_fragment = tcp.dont_fragment;
    header.fragment_offset = IpFragOffset::ZERO;
    header.header_checksum = header.calc_header_checksum();
    let mut bytes = header.to_bytes().to_vec();
    // etherparse splits the byte; the whole of it is wanted here.
    bytes[1] = tcp.tos;
    let parsed = Ipv4Header::from_slice(&bytes).expect("just emitted").0;
    let checksum = parsed.calc_header_checksum().to_be_bytes();
    bytes[10..12].copy_from_slice(&checksum);
    bytes
}

fn v6_header(tcp: &Tcp, protocol: IpNumber, length: usize) -> Vec<u8> {
    let mut source = [0; 16];
    source[0] = 0xfd;
    source[15] = tcp.host;
    let mut destination = [0; 16];
    destination[0] = 0xfd;
    destination[1] = 1;
    let header = Ipv6Header {
        traffic_class: tcp.tos,
        flow_label: Ipv6FlowLabel::ZERO,
        payload_length: u16::try_from(length).expect("test packets are short"),
        next_header: protocol,
        hop_limit: tcp.ttl,
        source,
        destination,
    };
    header.to_bytes().to_vec()
}

impl Tcp {
    /// The packet with right checksums, from its IP header.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut tcp = TcpHeader::new(self.port, 80, self.sequence, self.window);
        tcp.acknowledgment_number = self.acknowledgment;
        tcp.set_options_raw(&self.options)
            .expect("options are a multiple of four");
        let flags = self.flags;
        tcp.fin = flags & 1 != 0;
        tcp.syn = flags & 2 != 0;
        tcp.rst = flags & 4 != 0;
        tcp.psh = flags & 8 != 0;
        tcp.ack = flags & 16 != 0;
        tcp.urg = flags & 32 != 0;
        tcp.ece = flags & 64 != 0;
        tcp.cwr = flags & 128 != 0;
        let length = tcp.header_len() + self.payload.len();
        let mut bytes = if self.v6 {
            let bytes = v6_header(self, IpNumber::TCP, length);
            let header = Ipv6Header::from_slice(&bytes).expect("just emitted").0;
            tcp.checksum = tcp
                .calc_checksum_ipv6(&header, &self.payload)
                .expect("short");
            bytes
        } else {
            let bytes = v4_header(self, IpNumber::TCP, length);
            let header = Ipv4Header::from_slice(&bytes).expect("just emitted").0;
            tcp.checksum = tcp
                .calc_checksum_ipv4(&header, &self.payload)
                .expect("short");
            bytes
        };
        bytes.extend_from_slice(&tcp.to_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// The same fields as a UDP datagram.
    pub(crate) fn build_udp(&self) -> Vec<u8> {
        let length = 8 + self.payload.len();
        let (mut bytes, udp) = if self.v6 {
            let bytes = v6_header(self, IpNumber::UDP, length);
            let header = Ipv6Header::from_slice(&bytes).expect("just emitted").0;
            let udp = UdpHeader::with_ipv6_checksum(self.port, 80, &header, &self.payload);
            (bytes, udp)
        } else {
            let bytes = v4_header(self, IpNumber::UDP, length);
            let header = Ipv4Header::from_slice(&bytes).expect("just emitted").0;
            let udp = UdpHeader::with_ipv4_checksum(self.port, 80, &header, &self.payload);
            (bytes, udp)
        };
        bytes.extend_from_slice(&udp.expect("short").to_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// Bytes of the IP header.
    pub(crate) fn ip_len(&self) -> usize {
        if self.v6 { 40 } else { 20 }
    }

    /// Bytes of the TCP header.
    pub(crate) fn tcp_len(&self) -> usize {
        20 + self.options.len()
    }
}

/// Bytes of payload that differ from place to place.
pub(crate) fn payload(length: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

prop_compose! {
    /// A TCP packet with up to `limit` bytes of payload.
    pub(crate) fn any_tcp(limit: usize)(
        v6 in any::<bool>(),
        sequence in any::<u32>(),
        acknowledgment in any::<u32>(),
        window in any::<u16>(),
        flags in any::<u8>(),
        options in 0usize..=10,
        identification in any::<u16>(),
        dont_fragment in any::<bool>(),
        ttl in 1u8..,
        tos in any::<u8>(),
        length in 0..=limit,
        seed in any::<u8>(),
    ) -> Tcp {
        Tcp {
            v6, sequence, acknowledgment, window, flags, identification, dont_fragment, ttl, tos,
            options: vec![1; options * 4],
            payload: payload(length, seed),
            ..Tcp::default()
        }
    }
}

/// Whether etherparse finds the packet's checksums right, header and transport.
pub(crate) fn checksums_right(packet: &[u8]) -> bool {
    use etherparse::{NetHeaders, PacketHeaders, TransportHeader};
    let Ok(headers) = PacketHeaders::from_ip_slice(packet) else {
        return false;
    };
    let payload = headers.payload.slice();
    let net = headers.net.expect("an IP packet has an IP header");
    let transport = headers.transport;
    match (&net, transport) {
        (NetHeaders::Ipv4(ip, _), transport) => {
            ip.header_checksum == ip.calc_header_checksum()
                && match transport {
                    Some(TransportHeader::Tcp(tcp)) => {
                        tcp.checksum == tcp.calc_checksum_ipv4(ip, payload).expect("short")
                    }
                    Some(TransportHeader::Udp(udp)) => {
                        udp.checksum == udp.calc_checksum_ipv4(ip, payload).expect("short")
                    }
                    _ => true,
                }
        }
        (NetHeaders::Ipv6(ip, _), transport) => match transport {
            Some(TransportHeader::Tcp(tcp)) => {
                tcp.checksum == tcp.calc_checksum_ipv6(ip, payload).expect("short")
            }
            Some(TransportHeader::Udp(udp)) => {
                udp.checksum == udp.calc_checksum_ipv6(ip, payload).expect("short")
            }
            _ => true,
        },
        (NetHeaders::Arp(_), _) => false,
    }
}
