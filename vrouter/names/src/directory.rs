//! The names in force.

use std::collections::HashMap;
use std::net::IpAddr;

/// A container with names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Containers of one network find each other.
    pub network: String,
    /// Its names; the first is what its addresses resolve to.
    pub names: Vec<String>,
    pub addresses: Vec<IpAddr>,
}

/// Which containers have which names.
#[derive(Debug, Default)]
pub struct Directory {
    containers: Vec<Container>,
    by_address: HashMap<IpAddr, usize>,
    /// By network, then by name in lower case.
    by_name: HashMap<String, HashMap<String, Vec<usize>>>,
}

impl Directory {
    /// Of all containers, wherever they are.
    pub fn new(containers: impl IntoIterator<Item = Container>) -> Directory {
        let mut directory = Directory::default();
        for (at, container) in containers.into_iter().enumerate() {
            let network = directory.by_name.entry(container.network.clone());
            let network = network.or_default();
            for name in &container.names {
                network.entry(name.to_lowercase()).or_default().push(at);
            }
            let addresses = container.addresses.iter();
            directory.by_address.extend(addresses.map(|it| (*it, at)));
            directory.containers.push(container);
        }
        directory
    }

    fn network(&self, asker: IpAddr) -> Option<&str> {
        let at = self.by_address.get(&asker)?;
        Some(&self.containers[*at].network)
    }

    /// The addresses that a name has for the container at `asker`; `None` where it means nothing.
    pub(crate) fn addresses(&self, asker: IpAddr, name: &str) -> Option<Vec<IpAddr>> {
        let network = self.by_name.get(self.network(asker)?)?;
        let places = network.get(&name.to_lowercase())?;
        let addresses = places.iter().flat_map(|at| &self.containers[*at].addresses);
        Some(addresses.copied().collect())
    }

    /// The first name of the container that has `address`, for one of its network.
    pub(crate) fn name(&self, asker: IpAddr, address: IpAddr) -> Option<&str> {
        let container = &self.containers[*self.by_address.get(&address)?];
        let first = container.names.first()?;
        (self.network(asker)? == container.network).then_some(first)
    }
}

/// Whether DNS can carry a name: labels of letters, digits, `-` and `_`, joined by dots.
pub fn is_name(text: &str) -> bool {
    let byte = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(byte);
    text.len() <= 253 && text.split('.').all(label)
}
