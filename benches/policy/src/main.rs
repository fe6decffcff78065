//! Measures the 5-tuple table: build, lookup one by one and in batches, changes of one rule.
//!
//! `--rules` has one rule a line, first match wins:
//! `<src/len> <dst/len> <protocol|*> <low-high> <low-high> <allow|deny>`. `--trace` has a record
//! of 13 bytes a packet, big endian: source, destination, ports, protocol.

mod behind;
mod calico;

use std::fs;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use policy::acl::{Acl, PortRange, Prefix, Rule, Tuple, first_match};

/// Measure the policy classifiers.
#[derive(Parser)]
struct Options {
    /// Measure Calico policy instead, over a cluster of its own making.
    #[arg(long)]
    calico: bool,
    #[command(flatten)]
    cluster: calico::Cluster,
    /// File of rules.
    #[arg(long, required_unless_present = "calico")]
    rules: Option<PathBuf>,
    /// File of packets.
    #[arg(long, required_unless_present = "calico")]
    trace: Option<PathBuf>,
    /// Packets a batch.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Rounds; the best is printed, and the median.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Rules taken out and put back to measure changes.
    #[arg(long, default_value_t = 1000)]
    changes: usize,
    /// Compare this many packets with the rules read one after the other.
    #[arg(long, default_value_t = 0)]
    check: usize,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("policy-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    if options.calico {
        return calico::run(&options.cluster).map_err(|error| error.to_string());
    }
    let (Some(rules), Some(trace)) = (&options.rules, &options.trace) else {
        return Err("--rules and --trace go together".into());
    };
    let rules = read_rules(rules)?;
    let trace = read_trace(trace)?;
    let start = Instant::now();
    let mut table = Acl::build(&rules).map_err(|error| error.to_string())?;
    let build = start.elapsed();
    println!(
        "rules {} build {:.1} ms",
        rules.len(),
        build.as_secs_f64() * 1e3
    );
    let [src, dst, ports, rest] = table.groups();
    println!(
        "bytes {} ({:.1} a rule); filed by source {src}, destination {dst}, ports {ports}, \
         compared one by one {rest}",
        table.bytes(),
        table.bytes() as f64 / rules.len().max(1) as f64
    );
    let mut orders = vec![None; trace.len()];
    report("batch", options.rounds, trace.len(), || {
        for (packets, orders) in trace
            .chunks(options.batch)
            .zip(orders.chunks_mut(options.batch))
        {
            table.lookup_batch(packets, orders);
        }
        black_box(&mut orders);
    });
    report("single", options.rounds, trace.len(), || {
        for packet in &trace {
            black_box(table.lookup(packet));
        }
    });
    let whole = trace.len() / 64 * 64;
    let (mut sum, mut hits) = (0u64, 0usize);
    for order in &orders[..whole] {
        sum = sum
            .wrapping_mul(1_099_511_628_211)
            .wrapping_add(order.map_or(0, |order| u64::from(order) + 1));
        hits += usize::from(order.is_some());
    }
    println!(
        "hit {:.1}%  sum {sum:016x}",
        100.0 * hits as f64 / trace.len() as f64
    );
    if !rules.is_empty() {
        changes(&mut table, &rules, options.changes);
    }
    for packet in trace.iter().take(options.check) {
        let (found, expected) = (table.lookup(packet), first_match(&rules, packet));
        if found != expected {
            return Err(format!(
                "{packet:?}: found {found:?}, first match is {expected:?}"
            ));
        }
    }
    println!(
        "checked {} packets against the first match by hand",
        options.check.min(trace.len())
    );
    Ok(())
}

/// Takes rules out and puts them back, one at a time.
fn changes(table: &mut Acl<u32>, rules: &[Rule<u32>], count: usize) {
    let (mut removals, mut inserts) = (Vec::new(), Vec::new());
    for i in 0..count {
        let order = (i * 7919 % rules.len()) as u32;
        let start = Instant::now();
        let rule = table.remove(order).expect("all rules are in the table");
        removals.push(start.elapsed().as_secs_f64() * 1e6);
        let start = Instant::now();
        table.insert(order, rule).expect("the order was just freed");
        inserts.push(start.elapsed().as_secs_f64() * 1e6);
    }
    for (name, mut times) in [("remove one", removals), ("add one", inserts)] {
        times.sort_by(f64::total_cmp);
        let Some(worst) = times.last() else { continue };
        let median = times[times.len() / 2];
        println!("{name:10} median {median:7.1} us  worst {worst:7.1} us");
    }
}

fn report(name: &str, rounds: usize, packets: usize, mut run: impl FnMut()) {
    let mut times: Vec<f64> = (0..rounds.max(1))
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_nanos() as f64 / packets as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!(
        "{name:10} best {:.1} ns/packet  median {:.1}",
        times[0],
        times[times.len() / 2]
    );
}

fn read_rules(path: &Path) -> Result<Vec<Rule<u32>>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let rule = |(i, line): (usize, &str)| {
        parse_rule(line).ok_or_else(|| format!("{}:{}: no rule: {line}", path.display(), i + 1))
    };
    text.lines().enumerate().map(rule).collect()
}

fn parse_rule(line: &str) -> Option<Rule<u32>> {
    let mut fields = line.split_whitespace();
    let src = parse_prefix(fields.next()?)?;
    let dst = parse_prefix(fields.next()?)?;
    let protocol = match fields.next()? {
        "*" => None,
        number => Some(number.parse().ok()?),
    };
    let src_ports = parse_ports(fields.next()?)?;
    let dst_ports = parse_ports(fields.next()?)?;
    Some(Rule {
        src,
        dst,
        protocol,
        src_ports,
        dst_ports,
    })
}

fn parse_prefix(text: &str) -> Option<Prefix<u32>> {
    let (address, length) = text.split_once('/')?;
    Prefix::new(
        address.parse::<Ipv4Addr>().ok()?.to_bits(),
        length.parse().ok()?,
    )
}

fn parse_ports(text: &str) -> Option<PortRange> {
    let (low, high) = text.split_once('-')?;
    PortRange::new(low.parse().ok()?, high.parse().ok()?)
}

fn read_trace(path: &Path) -> Result<Vec<Tuple<u32>>, String> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (records, rest) = bytes.as_chunks::<13>();
    if !rest.is_empty() {
        return Err(format!(
            "{}: not a whole number of 13-byte records",
            path.display()
        ));
    }
    let packet = |&[a, b, c, d, e, f, g, h, i, j, k, l, m]: &[u8; 13]| Tuple {
        src: u32::from_be_bytes([a, b, c, d]),
        dst: u32::from_be_bytes([e, f, g, h]),
        src_port: u16::from_be_bytes([i, j]),
        dst_port: u16::from_be_bytes([k, l]),
        protocol: m,
    };
    Ok(records.iter().map(packet).collect())
}
