//! Values that occur in many results: protocols, MACs, times, pages.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use encap::protocol;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An IP protocol number; known ones have a name on the wire (`tcp`), others are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Protocol(pub u8);

impl Protocol {
    /// TCP.
    pub const TCP: Self = Self(protocol::TCP);
    /// UDP.
    pub const UDP: Self = Self(protocol::UDP);
    /// ICMP of IPv4.
    pub const ICMP: Self = Self(protocol::ICMP);
    /// ICMP of IPv6.
    pub const ICMPV6: Self = Self(protocol::ICMPV6);
    /// SCTP.
    pub const SCTP: Self = Self(protocol::SCTP);

    /// Whether its packets have ports.
    pub fn has_ports(self) -> bool {
        protocol::has_ports(self.0)
    }

    /// Whether it is ICMP of either family.
    pub fn is_icmp(self) -> bool {
        protocol::is_icmp(self.0)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match protocol::name(self.0) {
            Some(name) => f.pad(name),
            None => f.pad(&self.0.to_string()),
        }
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        protocol::number(text)
            .or_else(|| text.parse().ok())
            .map(Self)
            .ok_or_else(|| {
                let names: Vec<_> = protocol::NAMED.iter().map(|(_, name)| *name).collect();
                format!(
                    "{text:?} is no protocol: {} or a number up to 255",
                    names.join(", ")
                )
            })
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "a protocol is a name such as \"tcp\" or a number up to 255"
        )]
        enum Either {
            Number(u8),
            Name(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Number(number) => Ok(Self(number)),
            Either::Name(name) => name.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// A link-layer address; `ee:ee:ee:ee:ee:ee` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("{text:?} is no MAC address: six pairs of hex digits with colons");
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|part| part.len() == 2)
                .ok_or_else(fault)?;
            // `from_str_radix` would take a sign.
            if !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(fault());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| fault())?;
        }
        parts
            .next()
            .is_none()
            .then_some(Self(bytes))
            .ok_or_else(fault)
    }
}

/// Serde by `Display` and `FromStr`.
macro_rules! as_text {
    ($($type:ty)*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text! { Mac Timestamp }

/// A time of day in UTC, to the millisecond: RFC 3339 on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub u64,
);

const DAY: u64 = 86_400_000;

impl Timestamp {
    /// Days since 1970-01-01 to year, month and day, by the count of days from 0000-03-01 in
    /// eras of 400 years (proleptic Gregorian calendar).
    fn civil(days: u64) -> (u64, u64, u64) {
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        (year_of_era + era * 400 + u64::from(month <= 2), month, day)
    }

    /// The inverse of [`Self::civil`] for years from 1970.
    fn days(year: u64, month: u64, day: u64) -> u64 {
        let shifted_year = year - u64::from(month <= 2);
        let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
        let shifted_month = (month + 9) % 12;
        let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }
}

impl From<SystemTime> for Timestamp {
    /// Times before 1970 become 1970.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = Self::civil(self.0 / DAY);
        let millis = self.0 % DAY;
        let (seconds, millis) = (millis / 1000, millis % 1000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
        )
    }
}

impl FromStr for Timestamp {
    type Err = String;

    /// Only the form that `Display` writes.
    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("{text:?} is no time of the form 2026-01-31T23:59:59.999Z");
        let fields: Vec<u64> = text
            .strip_suffix('Z')
            .ok_or_else(fault)?
            .split(['-', 'T', ':', '.'])
            .map(|field| field.parse().map_err(|_| fault()))
            .collect::<Result<_, _>>()?;
        let &[year, month, day, hour, minute, second, millis] = fields.as_slice() else {
            return Err(fault());
        };
        if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day)
        {
            return Err(fault());
        }
        let seconds = hour * 3600 + minute * 60 + second;
        let parsed = Self(Self::days(year, month, day) * DAY + seconds * 1000 + millis);
        // A field out of range changes another one, or the number of digits.
        (parsed.to_string() == text)
            .then_some(parsed)
            .ok_or_else(fault)
    }
}

/// How a packet to another node is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encap {
    /// Not at all.
    None,
    /// RFC 2003 and RFC 2473.
    Ipip,
    /// RFC 7348.
    Vxlan,
}

impl Encap {
    /// As it stands on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Ipip => "ipip",
            Self::Vxlan => "vxlan",
        }
    }
}

/// Packets and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets; a super-packet is one.
    pub packets: u64,
    pub bytes: u64,
}

/// Part of an ordered list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where there are more: what to give as `after` to get them. Opaque to clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Rows of the whole list, filters not applied, where that is known without counting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

impl<T> Page<T> {
    /// Takes up to `rows` rows; `cursor` makes `next` of the last one taken, if more follow.
    pub fn collect(
        rows: usize,
        list: impl IntoIterator<Item = T>,
        cursor: impl FnOnce(&T) -> String,
    ) -> Self {
        let mut list = list.into_iter();
        let items: Vec<T> = list.by_ref().take(rows).collect();
        let next = match (items.last(), list.next()) {
            (Some(last), Some(_)) => Some(cursor(last)),
            (None, _) | (_, None) => None,
        };
        Self {
            items,
            next,
            total: None,
        }
    }

    /// The same page with the length of the whole list.
    #[must_use]
    pub fn with_total(self, total: u64) -> Self {
        Self {
            total: Some(total),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(
            Timestamp(951_782_400_000).to_string(),
            "2000-02-29T00:00:00.000Z"
        );
        assert_eq!(
            Timestamp(1_790_812_799_999).to_string(),
            "2026-09-30T23:59:59.999Z"
        );
        for wrong in [
            "2026-02-29T00:00:00.000Z",
            "2026-13-01T00:00:00.000Z",
            "2026-01-01T24:00:00.000Z",
            "2026-01-01T00:00:00Z",
            "2026-01-01 00:00:00.000Z",
            "",
        ] {
            assert!(wrong.parse::<Timestamp>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn protocols() {
        assert_eq!("TCP".parse(), Ok(Protocol::TCP));
        assert_eq!("47".parse(), Ok(Protocol(47)));
        assert_eq!(Protocol(47).to_string(), "47");
        for wrong in ["256", "-1", "tpc", ""] {
            assert!(wrong.parse::<Protocol>().is_err(), "{wrong}");
        }
        assert_eq!(
            serde_json::from_str::<Protocol>("17").unwrap(),
            Protocol::UDP
        );
        assert_eq!(
            serde_json::from_str::<Protocol>("\"udp\"").unwrap(),
            Protocol::UDP
        );
        assert_eq!(serde_json::to_string(&Protocol(47)).unwrap(), "\"47\"");
        assert!(serde_json::from_str::<Protocol>("300").is_err());
    }

    #[test]
    fn macs() {
        let mac = Mac([0x02, 0, 0xab, 0xcd, 0xef, 0x10]);
        assert_eq!(mac.to_string(), "02:00:ab:cd:ef:10");
        assert_eq!("02:00:AB:cd:ef:10".parse(), Ok(mac));
        for wrong in [
            "",
            "02:00:ab:cd:ef",
            "02:00:ab:cd:ef:10:11",
            "2:0:ab:cd:ef:10",
            "+2:00:ab:cd:ef:10",
        ] {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn pages() {
        let page = |rows| Page::collect(rows, 0..3, ToString::to_string);
        assert_eq!(
            page(2),
            Page {
                items: vec![0, 1],
                next: Some("1".into()),
                total: None
            }
        );
        assert_eq!(
            page(3),
            Page {
                items: vec![0, 1, 2],
                next: None,
                total: None
            }
        );
        assert_eq!(page(4).items.len(), 3);
    }

    proptest! {
        #[test]
        fn times_there_and_back(days in 0..2_932_896u64, millis in 0..DAY) {
            let time = Timestamp(days * DAY + millis);
            prop_assert_eq!(time.to_string().parse(), Ok(time));
        }

        #[test]
        fn texts_never_panic(text in "\\PC{0,30}|[0-9TZ:.-]{0,30}") {
            let _ = text.parse::<Timestamp>();
            let _ = text.parse::<Mac>();
            let _ = text.parse::<Protocol>();
        }
    }
}
