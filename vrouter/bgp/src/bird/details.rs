//! BIRD's routes with their BGP attributes, as `show route … all` lists them.

use std::net::IpAddr;

use ipnet::IpNet;
use vrouter_api::bgp::Community;

use super::Line;

/// A route of one protocol and what BGP knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// Where to.
    pub destination: IpNet,
    /// The protocol it is from.
    pub from: String,
    /// Whether it is the one of its destination that is used.
    pub primary: bool,
    /// Whether it leads nowhere.
    pub blackhole: bool,
    /// The interface of its first next hop.
    pub interface: Option<String>,
    /// BGP's next hop; that of the node first, if there are two.
    pub next_hop: Option<IpAddr>,
    pub local_pref: Option<u32>,
    /// AS path; sets are left out.
    pub path: Vec<u32>,
    /// Communities, standard and large.
    pub communities: Vec<Community>,
    /// Type's first word: `BGP`, `static`, `device`, `inherit`, ….
    pub kind: String,
}

/// The routes of an answer.
pub(super) fn read(lines: &[Line]) -> Vec<Details> {
    let mut all: Vec<Details> = Vec::new();
    let mut destination: Option<IpNet> = None;
    for (_, text) in lines {
        if let Some((before, after)) = text.split_once('[')
            && let Some((source, rest)) = after.split_once(']')
            && !text.trim_start().starts_with("BGP.")
        {
            let mut words = before.split_whitespace();
            if !text.starts_with(char::is_whitespace) {
                destination = words.next().and_then(|word| word.parse().ok());
            }
            let Some(destination) = destination else {
                continue;
            };
            all.push(Details {
                destination,
                from: source
                    .split_whitespace()
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
                primary: rest.trim_start().starts_with('*'),
                blackhole: before.contains("blackhole"),
                interface: None,
                next_hop: None,
                local_pref: None,
                path: Vec::new(),
                communities: Vec::new(),
                kind: String::new(),
            });
            continue;
        }
        let Some(route) = all.last_mut() else {
            continue;
        };
        let text = text.trim();
        if let Some((name, value)) = text.split_once(':') {
            attribute(route, name, value.trim());
        } else if let Some((_, after)) = text.split_once("on ").or_else(|| text.split_once("dev "))
            && route.interface.is_none()
        {
            route.interface = after.split_whitespace().next().map(str::to_owned);
        }
    }
    all
}

fn attribute(route: &mut Details, name: &str, value: &str) {
    match name {
        "Type" => {
            let word = value.split_whitespace().next().unwrap_or_default();
            word.clone_into(&mut route.kind);
        }
        "BGP.next_hop" => {
            let first = value.split_whitespace().next();
            route.next_hop = first.and_then(|text| text.parse().ok());
        }
        "BGP.local_pref" => route.local_pref = value.parse().ok(),
        "BGP.as_path" => {
            let words = value.split_whitespace();
            route.path = words.filter_map(|word| word.parse().ok()).collect();
        }
        "BGP.community" | "BGP.large_community" => {
            let groups = value.split('(').filter_map(|part| part.split(')').next());
            let texts = groups.map(|group| group.replace(", ", ":").replace(',', ":"));
            let read = texts.filter_map(|text| text.trim().parse::<Community>().ok());
            route.communities.extend(read);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::lines;
    use super::*;

    #[test]
    fn attributes_are_read() {
        let all = read(&lines(
            "\
1007-Table master4:
 10.65.0.0/26         unicast [Mesh_10_9_0_2 00:40:22.899] * (100) [AS65001i]
 \tvia 10.9.0.2 on eth0
1008-\tType: BGP univ
1012-\tBGP.origin: IGP
 \tBGP.as_path: 65001 65002
 \tBGP.next_hop: 10.9.0.2
 \tBGP.local_pref: 100
 \tBGP.community: (65000,1) (65000,2)
 \tBGP.large_community: (1, 2, 3)
1007-                     unicast [Node_x 00:40:22.899] (100) [i]
 \tvia 10.9.0.3 on eth1
1008-\tType: BGP univ
1007-10.65.1.0/26         blackhole [static4 00:39:46.300] * (200)
1008-\tType: static univ
0000 
",
        ));
        assert_eq!(all.len(), 3);
        let first = &all[0];
        assert_eq!(first.path, [65_001, 65_002]);
        assert_eq!(first.local_pref, Some(100));
        assert_eq!(first.interface.as_deref(), Some("eth0"));
        assert_eq!(first.next_hop, Some([10, 9, 0, 2].into()));
        let communities: Vec<String> = first.communities.iter().map(ToString::to_string).collect();
        assert_eq!(communities, ["65000:1", "65000:2", "1:2:3"]);
        assert_eq!((&*all[1].from, all[1].primary), ("Node_x", false));
        assert_eq!(all[1].destination, first.destination);
        assert!(all[2].blackhole && all[2].kind == "static");
    }
}
