//! Readers on other threads while the writer changes what covers, and what is covered by, the
//! routes they look up.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ipnet::{Ipv4Net, Ipv6Net};
use lpm::{Family, Reader, Table, Table4, Table6, Value};

const READERS: usize = 2;

fn value(index: u32) -> Value {
    Value::new(index).expect("small")
}

fn net4(text: &str) -> Ipv4Net {
    text.parse().expect("a prefix")
}

fn net6(text: &str) -> Ipv6Net {
    text.parse().expect("a prefix")
}

/// Looks up all addresses, one by one and as a batch, until told to stop. `allowed` tells which
/// values each address may have at any time.
fn watch<F: Family>(
    reader: &Reader<F>,
    addresses: &[F::Address],
    allowed: impl Fn(F::Address, Option<Value>) -> bool,
    stop: &AtomicBool,
) -> usize {
    let mut rounds = 0;
    let mut values = vec![None; addresses.len()];
    while !stop.load(Ordering::Relaxed) || rounds == 0 {
        let guard = reader.pin();
        guard.lookup_batch(addresses, &mut values);
        for (address, value) in addresses.iter().zip(&values) {
            assert!(
                allowed(*address, *value),
                "{address:?} in a batch: {value:?}"
            );
            let value = guard.lookup(*address);
            assert!(allowed(*address, value), "{address:?}: {value:?}");
        }
        rounds += 1;
    }
    rounds
}

/// Runs readers until `write` returns.
fn beside<F: Family>(
    table: &mut Table<F>,
    addresses: &[F::Address],
    allowed: impl Fn(F::Address, Option<Value>) -> bool + Sync,
    write: impl FnOnce(&mut Table<F>),
) {
    let stop = AtomicBool::new(false);
    let reader = table.reader();
    thread::scope(|scope| {
        for _ in 0..READERS {
            let reader = reader.clone();
            let (allowed, stop) = (&allowed, &stop);
            scope.spawn(move || watch(&reader, addresses, allowed, stop));
        }
        // Tells the readers to stop also when the writer panics.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _stop = Stop(&stop);
        write(table);
    });
}

#[test]
fn v4_routes_are_never_missing_or_torn() {
    let mut table = Table4::new();
    // Stays: the shortest cover and one route in the middle.
    table.insert(net4("0.0.0.0/1"), value(1));
    table.insert(net4("10.1.0.0/16"), value(2));
    let flapping: Vec<Ipv4Net> = ["10.0.0.0/8", "10.1.2.0/23", "10.1.2.0/24", "10.1.2.64/26"]
        .into_iter()
        .map(net4)
        .chain((0..32).map(|host| net4(&format!("10.1.2.{}/32", 64 + 2 * host))))
        .collect();
    let addresses: Vec<Ipv4Addr> = (0..256_u32)
        .map(|host| Ipv4Addr::from_bits(0x0a01_0200 + host))
        .chain([Ipv4Addr::new(10, 2, 0, 1), Ipv4Addr::new(10, 1, 0, 1)])
        .collect();
    let allowed = |address: Ipv4Addr, value: Option<Value>| {
        let Some(index) = value.map(Value::index) else {
            return false;
        };
        match address.octets() {
            [10, 1, 0, 1] => index == 2,
            [10, 2, ..] => index == 1 || index == 100,
            // The prefix of each value must hold the address.
            _ => {
                index == 2
                    || index
                        .checked_sub(100)
                        .and_then(|at| flapping.get(at))
                        .is_some_and(|net| net.prefix_len() > 16 && net.contains(&address))
            }
        }
    };
    beside(&mut table, &addresses, allowed, |table| {
        for round in 0..20_000_usize {
            let at = round * 7919 % flapping.len();
            if table.remove(flapping[at]).is_none() {
                table.insert(flapping[at], value(100 + at as u32));
            }
        }
    });
}

#[test]
fn v6_routes_are_never_missing_or_torn() {
    let mut table = Table6::new();
    table.insert(net6("2000::/3"), value(1));
    table.insert(net6("2001:db8::/32"), value(2));
    let flapping: Vec<Ipv6Net> = ["2001:d00::/24", "2001:db8::/40", "2001:db8:42::/64"]
        .into_iter()
        .map(net6)
        .chain((0..64).map(|site| net6(&format!("2001:db8:{:x}::/48", 0x20 + site))))
        .chain((0..64).map(|host| net6(&format!("2001:db8:42::{:x}/128", 3 * host))))
        .collect();
    let addresses: Vec<Ipv6Addr> = (0..128_u128)
        .map(|site| Ipv6Addr::from_bits(0x2001_0db8 << 96 | site << 80 | 1))
        .chain((0..200).map(|host| Ipv6Addr::from_bits(0x2001_0db8_0042 << 80 | host)))
        .collect();
    let allowed = |address: Ipv6Addr, value: Option<Value>| {
        let Some(index) = value.map(Value::index) else {
            return false;
        };
        index == 2
            || index
                .checked_sub(100)
                .and_then(|at| flapping.get(at))
                .is_some_and(|net| net.prefix_len() > 32 && net.contains(&address))
    };
    beside(&mut table, &addresses, allowed, |table| {
        for round in 0..20_000_usize {
            let at = round * 7919 % flapping.len();
            if table.remove(flapping[at]).is_none() {
                table.insert(flapping[at], value(100 + at as u32));
            }
        }
    });
}

#[test]
fn a_guard_sees_all_of_a_load_or_nothing() {
    let nets: Vec<Ipv4Net> = (0..64_u32)
        .map(|at| Ipv4Net::new_assert(Ipv4Addr::from_bits(at << 26), 6))
        .collect();
    let addresses: Vec<Ipv4Addr> = nets.iter().map(Ipv4Net::addr).collect();
    let mut table = Table4::new();
    table.load(nets.iter().map(|net| (*net, value(0))));
    let (reader, stop) = (table.reader(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut values = vec![None; addresses.len()];
            while !stop.load(Ordering::Relaxed) {
                let guard = reader.pin();
                guard.lookup_batch(&addresses, &mut values);
                let first = guard.lookup(addresses[0]);
                assert!(first.is_some());
                assert!(values.iter().all(|value| *value == first), "{values:?}");
            }
        });
        for round in 1..60 {
            table.load(nets.iter().map(|net| (*net, value(round))));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn memory_returns() {
    let mut table = Table6::new();
    let empty = table.memory();
    let reader = table.reader();
    let nets: Vec<Ipv6Net> = (0..30_000_u128)
        .map(|at| {
            Ipv6Net::new_assert(
                Ipv6Addr::from_bits(0x2001 << 112 | (at * 0x1_0001) << 72),
                56,
            )
        })
        .collect();
    for (at, net) in nets.iter().enumerate() {
        table.insert(*net, value(at as u32 % 1000));
    }
    let full = table.memory();
    assert!(full.fib > empty.fib);
    // While a reader looks, what it may see waits.
    let guard = reader.pin();
    for net in &nets {
        table.remove(*net);
    }
    table.reclaim();
    assert!(table.memory().retired > 0);
    assert!(guard.lookup(nets[0].addr()).is_none());
    drop(guard);
    for _ in 0..10 {
        // Other tests of this process may be pinned for a moment.
        table.reclaim();
        thread::sleep(std::time::Duration::from_millis(20));
        if table.memory().retired == 0 {
            break;
        }
    }
    assert_eq!(table.memory().retired, 0);
    table.clear();
    for _ in 0..10 {
        table.reclaim();
        thread::sleep(std::time::Duration::from_millis(20));
        if table.memory().retired == 0 {
            break;
        }
    }
    let after = table.memory();
    assert!(after.fib <= empty.fib + 32_768, "{after:?} after {empty:?}");
    assert!(after.rib <= empty.rib + 16_384, "{after:?} after {empty:?}");
}
