//! BIRD's routes, as `show route` lists them: one line each in version 1, next hops on lines of
//! their own later.

use ipnet::IpNet;

use super::Line;

/// The code of a route's line.
const ROUTE: u16 = 1007;

/// A route, or one of its next hops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// By whom; `None`: it is reached directly, or not at all.
    pub gateway: Option<String>,
    /// By which interface, or why it is not reached: `blackhole`, `unreachable`, `prohibited`.
    pub interface: String,
    /// The protocol it is from.
    pub from: String,
    /// Whether it is the one of its destination that is used.
    pub primary: bool,
}

/// The routes of an answer; those of tables without IP prefixes are left out.
pub(super) fn read(lines: &[Line]) -> Vec<Route> {
    let mut routes = Vec::new();
    let mut destination: Option<IpNet> = None;
    // Whose next hops follow: their protocol, and whether it is the one in use.
    let mut pending: Option<(String, bool)> = None;
    for (code, text) in lines {
        if *code != ROUTE || text.trim().is_empty() {
            continue;
        }
        let Some((before, after)) = text.split_once('[') else {
            match (destination, &pending, hop(text.split_whitespace())) {
                (Some(destination), Some((from, primary)), Some((gateway, interface))) => {
                    routes.push(Route {
                        destination,
                        gateway,
                        interface,
                        from: from.clone(),
                        primary: *primary,
                    });
                }
                // `Table master6:`, or an attribute.
                _ if !text.starts_with(char::is_whitespace) => {
                    (destination, pending) = (None, None);
                }
                _ => {}
            }
            continue;
        };
        let mut words = before.split_whitespace();
        if !text.starts_with(char::is_whitespace) {
            destination = words.next().and_then(|word| word.parse().ok());
        }
        pending = None;
        let Some((source, rest)) = after.split_once(']') else {
            continue;
        };
        let from = source.split_whitespace().next().unwrap_or_default();
        let primary = rest.trim_start().starts_with('*');
        let words: Vec<&str> = words.collect();
        let found = match words[..] {
            ["unicast" | "multipath"] => {
                pending = Some((from.to_owned(), primary));
                None
            }
            [why @ ("blackhole" | "unreachable" | "prohibit" | "prohibited")] => {
                Some((None, why.to_owned()))
            }
            _ => hop(words.into_iter()),
        };
        if let (Some(destination), Some((gateway, interface))) = (destination, found) {
            routes.push(Route {
                destination,
                gateway,
                interface,
                from: from.to_owned(),
                primary,
            });
        }
    }
    routes
}

/// `via 192.0.2.1 on eth0 …`, `dev eth0 …`: gateway and interface.
fn hop<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<(Option<String>, String)> {
    match words.next()? {
        "via" => {
            let gateway = words.next()?.to_owned();
            (words.next()? == "on").then_some(())?;
            Some((Some(gateway), words.next()?.to_owned()))
        }
        "dev" => Some((None, words.next()?.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::lines;
    use super::*;

    fn check(text: &str, wanted: &[(&str, &str, &str, &str, bool)]) {
        let all = read(&lines(text));
        let seen: Vec<_> = all
            .iter()
            .map(|it| {
                let gateway = it.gateway.as_deref().unwrap_or("-");
                (
                    it.destination.to_string(),
                    gateway,
                    &*it.interface,
                    &*it.from,
                    it.primary,
                )
            })
            .collect();
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(to, by, on, from, primary)| ((*to).to_owned(), *by, *on, *from, *primary))
            .collect();
        assert_eq!(seen, wanted);
    }

    #[test]
    fn version_2_puts_hops_on_lines_of_their_own() {
        check(
            "\
1007-Table master4:
 0.0.0.0/0            unicast [kernel1 00:39:46.302] * (10)
 \tvia 10.9.0.2 on eth0
 10.65.0.0/26         blackhole [static1 00:39:46.300] * (200)
                      unicast [Mesh_10_9_0_2 00:40:22.899] (100) [i]
 \tvia 10.9.0.2 on eth0
 10.9.0.0/24          unicast [direct1 00:39:46.302] * (240)
 \tdev eth0
 10.71.0.0/24         unicast [static1 00:39:46.300] * (200)
 \tvia 10.9.0.2 on eth0 weight 1
 \tvia 10.9.0.3 on eth0 weight 1
 10.65.9.0/26         unreachable [static1 00:39:46.300] * (200)
 
 Table master6:
 fd66::/64            unicast [Node_fd09__2 00:40:19.826] * (100) [i]
 \tvia fd09::2 on eth0
 Table vpn:
 65000:1 10.0.0.0/8   unicast [x 00:40:19.826] * (100) [i]
 \tvia 10.9.0.9 on eth0
0000 
",
            &[
                ("0.0.0.0/0", "10.9.0.2", "eth0", "kernel1", true),
                ("10.65.0.0/26", "-", "blackhole", "static1", true),
                ("10.65.0.0/26", "10.9.0.2", "eth0", "Mesh_10_9_0_2", false),
                ("10.9.0.0/24", "-", "eth0", "direct1", true),
                ("10.71.0.0/24", "10.9.0.2", "eth0", "static1", true),
                ("10.71.0.0/24", "10.9.0.3", "eth0", "static1", true),
                ("10.65.9.0/26", "-", "unreachable", "static1", true),
                ("fd66::/64", "fd09::2", "eth0", "Node_fd09__2", true),
            ],
        );
    }

    #[test]
    fn version_1_says_all_in_one_line() {
        check(
            "\
1007-0.0.0.0/0          via 172.17.0.1 on eth0 [kernel1 20:10:57] * (10)
 192.168.82.0/26    via 172.17.0.4 on eth0 [Mesh_172_17_0_4 20:11:00] * (100/0) [i]
                    via 100.100.100.100 on em0 [Global_100_100_100_100 20:11:00] (100/?) [AS65001?]
                    unreachable [Mesh_10_128_0_244 09:23:24 from 10.128.0.244] (100/-) [i]
 192.168.162.128/26 blackhole [static1 20:10:56] * (200)
 192.168.162.128/32 dev tunl0 [direct1 20:10:56] * (240)
 10.71.0.0/24       multipath [static1 20:10:56] * (200)
 \tvia 10.9.0.2 on eth0 weight 1
 \tvia 10.9.0.3 on eth0 weight 1
0000 
",
            &[
                ("0.0.0.0/0", "172.17.0.1", "eth0", "kernel1", true),
                (
                    "192.168.82.0/26",
                    "172.17.0.4",
                    "eth0",
                    "Mesh_172_17_0_4",
                    true,
                ),
                (
                    "192.168.82.0/26",
                    "100.100.100.100",
                    "em0",
                    "Global_100_100_100_100",
                    false,
                ),
                (
                    "192.168.82.0/26",
                    "-",
                    "unreachable",
                    "Mesh_10_128_0_244",
                    false,
                ),
                ("192.168.162.128/26", "-", "blackhole", "static1", true),
                ("192.168.162.128/32", "-", "tunl0", "direct1", true),
                ("10.71.0.0/24", "10.9.0.2", "eth0", "static1", true),
                ("10.71.0.0/24", "10.9.0.3", "eth0", "static1", true),
            ],
        );
    }

    #[test]
    fn nothing_is_made_of_what_is_not_understood() {
        check(
            "\
1007-	via 10.9.0.2 on eth0
 x unicast [a
 10.0.0.0/8 teleport [a 10:00] * (1)
 \tvia 10.9.0.2 on eth0
                      blackhole
 [
1008-\tBGP.origin: IGP
0000 
",
            &[],
        );
    }
}
