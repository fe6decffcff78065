//! The names of drops for what is wrong with a packet's headers.

use encap::ip::HeaderError;

use crate::drop::DropReason;

pub use encap::ip::{Headers, Transport};

impl From<HeaderError> for DropReason {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::Truncated => Self::IpTruncated,
            HeaderError::Version => Self::IpBadVersion,
            HeaderError::HeaderLength
            | HeaderError::TotalLength
            | HeaderError::Extension
            | HeaderError::OtherIcmp => Self::IpBadHeader,
            HeaderError::Checksum => Self::IpBadChecksum,
            HeaderError::SourceRoute => Self::IpSourceRoute,
            HeaderError::Transport => Self::TransportTruncated,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    fn parse(bytes: &[u8]) -> Result<Headers, DropReason> {
        Headers::parse(bytes).map_err(DropReason::from)
    }

    fn udp4(payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 7)
            .udp(1000, 2000)
            .write(&mut bytes, payload)
            .unwrap();
        bytes
    }

    #[test]
    fn reads_udp_over_ipv4_with_padding() {
        let mut bytes = udp4(&[1, 2, 3]);
        bytes.extend([0; 9]);
        let headers = Headers::parse(&bytes).unwrap();
        assert_eq!(
            (headers.source_port, headers.destination_port),
            (1000, 2000)
        );
        assert_eq!(
            (headers.length, headers.ttl, headers.transport_at),
            (31, 7, 20)
        );
    }

    #[test]
    fn reads_tcp_over_ipv6_behind_extensions() {
        let mut bytes = Vec::new();
        PacketBuilder::ipv6([1; 16], [2; 16], 9)
            .tcp(5, 6, 7, 8)
            .syn()
            .write(&mut bytes, &[])
            .unwrap();
        let plain = Headers::parse(&bytes).unwrap();
        assert_eq!(plain.transport, Transport::Tcp { flags: 2 });
        // A destination options header of 8 bytes in front.
        let mut long = bytes[..40].to_vec();
        long[6] = 60;
        long[4..6].copy_from_slice(&28u16.to_be_bytes());
        long.extend([6, 0, 1, 4, 0, 0, 0, 0]);
        long.extend(&bytes[40..]);
        let headers = Headers::parse(&long).unwrap();
        assert_eq!(headers.transport_at, 48);
        assert_eq!(headers.transport, plain.transport);
        // The same as routing header of type 0 is refused.
        long[6] = 43;
        long[42] = 0;
        assert_eq!(parse(&long), Err(DropReason::IpSourceRoute));
    }

    #[test]
    fn names_what_is_wrong() {
        let good = udp4(&[0; 4]);
        let mut bad = good.clone();
        bad[8] = 8;
        assert_eq!(parse(&bad), Err(DropReason::IpBadChecksum));
        assert_eq!(parse(&good[..30]), Err(DropReason::IpTruncated));
        assert_eq!(parse(&[0x50; 40]), Err(DropReason::IpBadVersion));
        assert_eq!(parse(&[]), Err(DropReason::IpTruncated));
    }

    proptest! {
        #[test]
        fn agrees_with_etherparse(payload in prop::collection::vec(any::<u8>(), 0..64), ttl: u8,
                                  s: [u8; 4], d: [u8; 4], sp: u16, dp: u16) {
            let mut bytes = Vec::new();
            PacketBuilder::ipv4(s, d, ttl).udp(sp, dp).write(&mut bytes, &payload).unwrap();
            let headers = Headers::parse(&bytes).unwrap();
            prop_assert_eq!(headers.source, IpAddr::from(s));
            prop_assert_eq!(headers.destination, IpAddr::from(d));
            prop_assert_eq!((headers.source_port, headers.destination_port), (sp, dp));
            prop_assert_eq!(headers.length, bytes.len());
        }

        #[test]
        fn never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..120), v in prop::sample::select(vec![0x45u8, 0x46, 0x4f, 0x60])) {
            if let Some(b) = bytes.first_mut() { *b = v; }
            if let Ok(headers) = Headers::parse(&bytes) {
                prop_assert!(headers.transport_at <= headers.length && headers.length <= bytes.len());
            }
        }
    }
}
