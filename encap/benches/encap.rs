//! What the byte loops cost: `cargo bench -p encap`.
//!
//! Prints nanoseconds per call and gigabytes per second, the best of several rounds, each fast
//! version beside the plain one it replaces.

use std::hint::black_box;
use std::num::NonZeroU16;
use std::ops::Range;
use std::time::Instant;

use encap::checksum::{Sum, copy_and_sum, sum};
use encap::coalesce::{InPlace, Rules, Span};
use encap::offload::{Gso, GsoKind, Offload, Partial};
use encap::segment::Plan;

/// The best of `ROUNDS` rounds, in nanoseconds per call.
fn measure(name: &str, bytes: usize, mut call: impl FnMut()) {
    const ROUNDS: usize = 15;
    let calls = (20_000_000 / bytes.max(64)).max(1);
    let best = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..calls {
                call();
            }
            start.elapsed().as_secs_f64() * 1e9 / calls as f64
        })
        .fold(f64::INFINITY, f64::min);
    println!(
        "{name:<44} {best:>10.1} ns {:>8.2} GB/s",
        bytes as f64 / best
    );
}

/// RFC 1071 word by word.
fn naive(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// What lost: 32-bit words widened into 64-bit lanes, which the compiler turns into vectors.
fn widening(bytes: &[u8]) -> Sum {
    let mut lanes = [0u64; 8];
    let (strides, rest) = bytes.as_chunks::<32>();
    for stride in strides {
        let (words, _) = stride.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane = lane.wrapping_add(u64::from(u32::from_ne_bytes(*word)));
        }
    }
    lanes.iter().fold(sum(rest), |total, lane| {
        total.add_u32(*lane as u32).add_u32((*lane >> 32) as u32)
    })
}

/// A TCP super-packet of `length` bytes of payload, IPv4, 12 bytes of options.
fn super_packet(length: usize) -> (Vec<u8>, Offload) {
    let mut packet = vec![0u8; 52 + length];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&((52 + length) as u16).to_be_bytes());
    packet[8] = 64;
    packet[9] = 6;
    packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    packet[32] = 8 << 4;
    packet[33] = 0x10;
    for (i, byte) in packet[52..].iter_mut().enumerate() {
        *byte = (i * 7) as u8;
    }
    let size = NonZeroU16::new(1398).expect("1398 is not zero");
    let gso = Gso {
        kind: GsoKind::Tcp4,
        ecn: false,
        header_len: 52,
        size,
    };
    (
        packet,
        Offload::Segmented(
            Partial {
                start: 20,
                offset: 16,
            },
            gso,
        ),
    )
}

fn main() {
    for length in [20, 64, 1398, 65_000] {
        let source: Vec<u8> = (0..length).map(|i| (i * 31) as u8).collect();
        let mut target = vec![0u8; length];
        measure(&format!("sum naive {length}"), length, || {
            black_box(naive(black_box(&source)));
        });
        measure(&format!("sum widening {length}"), length, || {
            black_box(widening(black_box(&source)).fold());
        });
        measure(&format!("sum {length}"), length, || {
            black_box(sum(black_box(&source)).fold());
        });
        measure(&format!("copy {length}"), length, || {
            black_box(&mut target).copy_from_slice(black_box(&source));
        });
        measure(&format!("copy, then sum {length}"), length, || {
            black_box(&mut target).copy_from_slice(black_box(&source));
            black_box(sum(&target).fold());
        });
        measure(&format!("copy_and_sum {length}"), length, || {
            black_box(copy_and_sum(black_box(&mut target), black_box(&source)).fold());
        });
    }
    let (packet, offload) = super_packet(65_000);
    let mut out = vec![0u8; 80_000];
    let prefix = [0u8; 22];
    measure(
        "segment 65000 B of TCP by 1398, VXLAN prefix",
        packet.len(),
        || {
            let plan =
                Plan::new(black_box(&packet), 0, offload).expect("the packet is well formed");
            let written = plan.write_all(0..plan.count(), &packet, &prefix, &mut out);
            black_box(written).expect("the buffer is long enough");
        },
    );
    let plan = Plan::new(&packet, 0, offload).expect("the packet is well formed");
    let written = plan.write_all(0..plan.count(), &packet, &prefix, &mut out);
    let written = written.expect("the buffer is long enough");
    let train = out[..written.bytes].to_vec();
    let spans: Vec<Range<usize>> = (0..written.bytes)
        .step_by(written.segment_size)
        .map(|at| at + prefix.len()..(at + written.segment_size).min(written.bytes))
        .collect();
    measure("copy of those segments", train.len(), || {
        black_box(&mut out)[..train.len()].copy_from_slice(black_box(&train));
    });
    for (name, offload) in [
        ("", Offload::None),
        (", verified before", Offload::Verified),
    ] {
        measure(
            &format!("that copy, and coalescing in place{name}"),
            train.len(),
            || {
                out[..train.len()].copy_from_slice(&train);
                let mut merge = InPlace::new(Rules::TCP);
                for range in &spans {
                    let span = Span {
                        range: range.clone(),
                        offload,
                    };
                    black_box(merge.push(&mut out, span));
                }
                black_box(merge.finish(&mut out));
            },
        );
    }
}
