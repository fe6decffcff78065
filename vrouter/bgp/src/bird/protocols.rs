//! BIRD's protocols, as `show protocols all` lists them, and the BGP sessions among them, which
//! are named as Calico's templates for BIRD do: `Mesh_192_0_2_2`, `Node_fd00__2`,
//! `Global_192_0_2_254_port_180`.

use std::net::IpAddr;

use super::Line;
use encap::Family;

/// Codes of a protocol's line and of what follows it.
const PROTOCOL: u16 = 1002;
const DETAIL: u16 = 1006;

/// A protocol that BIRD runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Protocol {
    /// As its configuration names it.
    pub name: String,
    /// `BGP`, `Kernel`, `Static`, `Direct`, ….
    pub kind: String,
    /// `up`, `start`, `down`.
    pub state: String,
    /// Since when it is so, as BIRD writes times.
    pub since: String,
    /// Whatever else its line says.
    pub info: String,
    /// The neighbor's address, of BGP.
    pub neighbor: Option<String>,
    /// The session's state, of BGP.
    pub bgp_state: Option<String>,
}

/// Why there is a session, as its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// All nodes have one to each other.
    Mesh,
    /// A peer of this node.
    Node,
    /// A peer of all nodes.
    Global,
    /// None of Calico's names.
    Other,
}

/// A BGP session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub origin: Origin,
    /// The neighbor's address; the protocol's name where BIRD does not say one.
    pub address: String,
    /// Whether it is one over IPv6.
    pub family: Family,
    /// `Established`, `Active`, …; empty where BIRD does not say it.
    pub state: String,
}

impl Protocol {
    /// The BGP session that it is.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        if self.kind != "BGP" {
            return None;
        }
        let (origin, named) = match self.name.split_once('_') {
            Some(("Mesh", named)) => (Origin::Mesh, named),
            Some(("Node", named)) => (Origin::Node, named),
            Some(("Global", named)) => (Origin::Global, named),
            _ => (Origin::Other, self.name.as_str()),
        };
        let said = self.neighbor.as_deref();
        let address = said.and_then(address).or_else(|| {
            let host = named.split("_port_").next().unwrap_or(named);
            [".", ":"]
                .iter()
                .find_map(|between| address(&host.replace('_', between)))
        });
        let first = self.info.split_whitespace().next().unwrap_or_default();
        Some(Session {
            origin,
            family: address.map_or(Family::V4, Family::from),
            address: match (address, said) {
                // With the interface, where it is a link's own address.
                (Some(_), Some(said)) => said.to_owned(),
                (Some(address), None) => address.to_string(),
                (None, _) => self.name.clone(),
            },
            state: self.bgp_state.as_deref().unwrap_or(first).to_owned(),
        })
    }
}

/// `192.0.2.1`, `fe80::1%eth0`.
fn address(text: &str) -> Option<IpAddr> {
    text.split('%').next()?.parse().ok()
}

/// The protocols of an answer.
pub(super) fn read(lines: &[Line]) -> Vec<Protocol> {
    let mut all: Vec<Protocol> = Vec::new();
    for (code, text) in lines {
        match *code {
            PROTOCOL => all.extend(protocol(text)),
            DETAIL => {
                let (Some(last), Some((name, value))) = (all.last_mut(), text.split_once(": "))
                else {
                    continue;
                };
                let value = Some(value.trim().to_owned());
                match name.trim() {
                    "Neighbor address" => last.neighbor = value,
                    "BGP state" => last.bgp_state = value,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    all
}

/// `Mesh_192_0_2_2 BGP --- up 23:30:04 Established`.
fn protocol(line: &str) -> Option<Protocol> {
    let mut words = line.split_whitespace();
    let (name, kind) = (words.next()?.to_owned(), words.next()?.to_owned());
    let _table = words.next()?;
    let state = words.next()?.to_owned();
    let mut since = words.next().unwrap_or_default().to_owned();
    let mut rest: Vec<&str> = words.collect();
    // BIRD 2 may write date and time.
    if rest.first().is_some_and(|word| is_time(word)) && !is_time(&since) {
        since = format!("{since} {}", rest.remove(0));
    }
    Some(Protocol {
        name,
        kind,
        state,
        since,
        info: rest.join(" "),
        neighbor: None,
        bgp_state: None,
    })
}

fn is_time(word: &str) -> bool {
    word.contains(':') && word.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::super::tests::lines;
    use super::*;

    /// BIRD 2.0.12's own words, shortened.
    const BIRD_2: &str = "\
2002-Name       Proto      Table      State  Since         Info
1002-device1    Device     ---        up     00:39:46.300  
1006-
1002-kernel1    Kernel     master4    up     00:39:46.300  
1006-  Channel ipv4
     State:          UP
     Routes:         1 imported, 0 exported, 1 preferred
 
1002-Mesh_10_9_0_2 BGP        ---        up     00:40:21.127  Established   
1006-  BGP state:          Established
     Neighbor address: 10.9.0.2
     Neighbor AS:      64512
   Channel ipv4
     State:          UP
     Neighbor capabilities
 
1002-uplink BGP        ---        start  2026-11-20 10:00:01  Active        Socket: Connection refused
1006-  BGP state:          Active
     Neighbor address: fe80::1%eth0
 
0000 
";

    #[test]
    fn protocols_have_their_details() {
        let all = read(&lines(BIRD_2));
        let names: Vec<(&str, &str)> = all.iter().map(|it| (&*it.name, &*it.kind)).collect();
        assert_eq!(
            names,
            [
                ("device1", "Device"),
                ("kernel1", "Kernel"),
                ("Mesh_10_9_0_2", "BGP"),
                ("uplink", "BGP")
            ]
        );
        assert_eq!(all[0].session(), None);
        assert_eq!((&*all[2].since, &*all[2].state), ("00:40:21.127", "up"));
        let mesh = Session {
            origin: Origin::Mesh,
            address: "10.9.0.2".into(),
            family: Family::V4,
            state: "Established".into(),
        };
        assert_eq!(all[2].session(), Some(mesh));
        assert_eq!(all[3].since, "2026-11-20 10:00:01");
        assert_eq!(all[3].info, "Active Socket: Connection refused");
        let uplink = all[3].session().unwrap();
        assert_eq!((uplink.origin, uplink.family), (Origin::Other, Family::V6));
        assert_eq!(uplink.address, "fe80::1%eth0");
    }

    #[test]
    fn a_name_says_what_no_detail_does() {
        let session = |line| protocol(line).and_then(|it| it.session());
        for (line, origin, address, state) in [
            (
                "Mesh_172_17_8_102 BGP master up 23:30:04  Established ",
                Origin::Mesh,
                "172.17.8.102",
                "Established",
            ),
            (
                "Global_fd00__2_port_180 BGP --- start 10:00:01 Active Socket: x",
                Origin::Global,
                "fd00::2",
                "Active",
            ),
            ("Node_x BGP --- down 10:00:01", Origin::Node, "Node_x", ""),
            ("uplink BGP --- up 10:00:01", Origin::Other, "uplink", ""),
        ] {
            let session = session(line).unwrap();
            assert_eq!(session.origin, origin, "{line}");
            assert_eq!(session.address, address, "{line}");
            assert_eq!(session.family.is_v6(), address.contains(':'), "{line}");
            assert_eq!(session.state, state, "{line}");
        }
        for none in ["device1 Device --- up 10:00:01", "", "a BGP", "a BGP ---"] {
            assert_eq!(session(none), None, "{none}");
        }
    }
}
