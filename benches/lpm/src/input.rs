//! What is measured: prefixes from a file, and the keys to look up.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Prefixes of both families, in the order of the file.
#[derive(Debug, Default)]
pub(crate) struct Prefixes {
    /// IPv4.
    pub(crate) v4: Vec<Ipv4Net>,
    /// IPv6.
    pub(crate) v6: Vec<Ipv6Net>,
}

/// Addresses of both families.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// IPv4.
    pub(crate) v4: Vec<Ipv4Addr>,
    /// IPv6.
    pub(crate) v6: Vec<Ipv6Addr>,
}

/// Where keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Any address; of IPv6, any in 2000::/3, where the global prefixes lie.
    Random,
    /// A prefix drawn from the table, then any address in it.
    Inside,
    /// Addresses, one a line.
    File(PathBuf),
}

impl FromStr for Source {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "random" => Self::Random,
            "inside" => Self::Inside,
            file => Self::File(file.into()),
        })
    }
}

/// Marsaglia's xorshift, as the peers' programs use.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Starts at `seed`, which must not be 0.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.bits()) << 64 | u128::from(self.bits())
    }
}

/// Reads prefixes of both families, one a line; a name that ends in `.gz` is decompressed.
pub(crate) fn prefixes(path: &Path) -> Result<Prefixes, Box<dyn Error>> {
    let mut prefixes = Prefixes::default();
    for line in lines(path)? {
        match line?.parse()? {
            IpNet::V4(net) => prefixes.v4.push(net.trunc()),
            IpNet::V6(net) => prefixes.v6.push(net.trunc()),
        }
    }
    Ok(prefixes)
}

/// Makes `count` keys of each family the table has, or as many as the file has.
pub(crate) fn keys(
    source: &Source,
    prefixes: &Prefixes,
    count: usize,
    seed: u64,
) -> Result<Keys, Box<dyn Error>> {
    let mut random = Random::new(seed);
    let mut keys = Keys::default();
    match source {
        Source::Random => {
            keys.v4
                .extend((0..count).map(|_| Ipv4Addr::from_bits(random.bits() as u32)));
            keys.v6
                .extend((0..count).map(|_| Ipv6Addr::from_bits(1 << 125 | random.wide() >> 3)));
        }
        Source::Inside => {
            if !prefixes.v4.is_empty() {
                keys.v4.extend((0..count).map(|_| {
                    let net = prefixes.v4[random.below(prefixes.v4.len())];
                    let host = random.bits() as u32 & net.hostmask().to_bits();
                    Ipv4Addr::from_bits(net.addr().to_bits() | host)
                }));
            }
            if !prefixes.v6.is_empty() {
                keys.v6.extend((0..count).map(|_| {
                    let net = prefixes.v6[random.below(prefixes.v6.len())];
                    let host = random.wide() & net.hostmask().to_bits();
                    Ipv6Addr::from_bits(net.addr().to_bits() | host)
                }));
            }
        }
        Source::File(path) => {
            for line in lines(path)? {
                match line?.parse()? {
                    IpAddr::V4(address) => keys.v4.push(address),
                    IpAddr::V6(address) => keys.v6.push(address),
                }
            }
        }
    }
    Ok(keys)
}

/// The lines of a file that are not empty.
fn lines(path: &Path) -> Result<impl Iterator<Item = std::io::Result<String>>, Box<dyn Error>> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let input: Box<dyn Read> = if path.extension().is_some_and(|end| end == "gz") {
        Box::new(flate2::read::MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let lines = BufReader::new(input).lines();
    Ok(lines.filter(|line| !line.as_ref().is_ok_and(|line| line.trim().is_empty())))
}
