//! A change of one prefix costs no more the more routes there are: the routes are doubled three
//! times, and the processor time of the same changes must not follow.
#![cfg(not(loom))]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use lpm::{Table4, Value};

/// How often a round makes the same changes.
const REPEATS: u32 = 50;

/// Prefixes that are far apart: /24s in an order without neighbours.
fn net(number: u32) -> Ipv4Net {
    let bits = number.wrapping_mul(0x9E37_79B1) & 0xffff_ff00;
    Ipv4Net::new_assert(Ipv4Addr::from_bits(bits), 24)
}

fn value(number: u32) -> Value {
    Value::new(number % 100).expect("an index below the greatest")
}

/// This thread's time on a processor; wall time where the kernel does not tell.
fn now(start: Instant) -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let on_cpu = text.split_whitespace().next().and_then(|t| t.parse().ok());
    on_cpu.map_or_else(|| start.elapsed(), Duration::from_nanos)
}

/// The least time of several rounds of the same changes in a table of so many routes. The kernel
/// adds to a running thread's time at its ticks, every 4 ms: a round takes many of them.
fn changes(routes: u32) -> Duration {
    let mut table = Table4::new();
    table.load((0..routes).map(|number| (net(number), value(number))));
    let start = Instant::now();
    let round = |round: u32| {
        let before = now(start);
        for _ in 0..REPEATS {
            for number in routes..routes + 2_000 {
                table.insert(net(number), value(number + round));
            }
            for number in routes..routes + 2_000 {
                table.remove(net(number));
            }
        }
        now(start).saturating_sub(before)
    };
    (0..5).map(round).min().expect("five rounds")
}

#[test]
fn a_change_does_not_follow_the_number_of_routes() {
    let (few, many) = (changes(25_000), changes(200_000));
    println!("{few:?} among 25,000 routes, {many:?} among 200,000");
    assert!(
        many < few * 5,
        "{few:?} among 25,000 routes, {many:?} among 200,000"
    );
}
