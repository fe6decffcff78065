//! Which worker an IPIP packet belongs to: a classic BPF program for each worker's raw socket
//! (`linux/filter.h`), and the same function in Rust as the reference it is tested against.
//!
//! A raw socket sees every packet of its protocol, so each filter must accept exactly those that
//! all others refuse. Flows are told apart by addresses and ports of the inner packet; fragments,
//! which lack ports, by addresses. What is no IPv4 packet inside goes to the first worker.

use libc::{
    BPF_ADD, BPF_ALU, BPF_AND, BPF_B, BPF_H, BPF_IMM, BPF_IND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET,
    BPF_K, BPF_LD, BPF_LDX, BPF_LEN, BPF_LSH, BPF_MEM, BPF_MISC, BPF_MOD, BPF_MSH, BPF_MUL,
    BPF_RET, BPF_RSH, BPF_ST, BPF_STX, BPF_TAX, BPF_W, BPF_X, BPF_XOR,
};
use socket2::SockFilter;

/// Odd constants that mix: source address, destination address, ports.
const MIX: [u32; 3] = [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d];
/// MF and the offset of an IPv4 fragment.
const FRAGMENT: u32 = 0x3fff;
/// Protocols whose first four bytes are ports: TCP, UDP, SCTP.
const WITH_PORTS: [u32; 3] = [6, 17, 132];
/// Bytes of a packet to keep: more than any has.
const ALL: u32 = 1 << 18;

/// Memory words of the program.
const HASH: u32 = 0;
const OUTER: u32 = 1;
const TRANSPORT: u32 = 2;

/// Where a conditional jump goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    /// The next instruction.
    Next,
    /// The reading of the ports.
    Ports,
    /// The decision.
    Decide,
    /// The last instruction: not for this worker.
    Refuse,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    code: u32,
    value: u32,
    yes: To,
    no: To,
}

/// A program in the making; places are found when all of it is there.
#[derive(Debug, Default)]
struct Program {
    steps: Vec<Step>,
    ports: usize,
    decide: usize,
}

impl Program {
    fn step(&mut self, code: u32, value: u32) {
        self.steps.push(Step {
            code,
            value,
            yes: To::Next,
            no: To::Next,
        });
    }

    fn branch(&mut self, test: u32, value: u32, yes: To, no: To) {
        self.steps.push(Step {
            code: BPF_JMP | test,
            value,
            yes,
            no,
        });
    }

    /// Mixes the accumulator into the hash.
    fn mix(&mut self, factor: u32) {
        self.step(BPF_ALU | BPF_MUL | BPF_K, factor);
        self.step(BPF_LDX | BPF_W | BPF_MEM, HASH);
        self.step(BPF_ALU | BPF_XOR | BPF_X, 0);
        self.step(BPF_ST, HASH);
    }

    fn finish(self) -> Vec<SockFilter> {
        let refuse = self.steps.len() - 1;
        let distance = |from: usize, to: To| {
            let target = match to {
                To::Next => from + 1,
                To::Ports => self.ports,
                To::Decide => self.decide,
                To::Refuse => refuse,
            };
            // Jumps count from the instruction after.
            u8::try_from(target - from - 1).expect("the program is shorter than 256 and jumps on")
        };
        let encode = |(at, step): (usize, &Step)| {
            let (yes, no) = (distance(at, step.yes), distance(at, step.no));
            SockFilter::new(step.code as u16, yes, no, step.value)
        };
        self.steps.iter().enumerate().map(encode).collect()
    }
}

/// The program of worker `index` of `workers`, for packets that start at the outer IPv4 header.
pub(crate) fn filter(index: usize, workers: usize) -> Vec<SockFilter> {
    let mut program = Program::default();
    let inner_byte = BPF_LD | BPF_B | BPF_IND;
    let inner_word = BPF_LD | BPF_W | BPF_IND;

    program.step(BPF_LD | BPF_IMM, 0);
    program.step(BPF_ST, HASH);
    // X: length of the outer header. A header's length plus 20 must fit.
    program.step(BPF_LDX | BPF_B | BPF_MSH, 0);
    program.step(BPF_STX, OUTER);
    program.step(BPF_LD | BPF_W | BPF_MEM, OUTER);
    program.step(BPF_ALU | BPF_ADD | BPF_K, 20);
    program.step(BPF_MISC | BPF_TAX, 0);
    program.step(BPF_LD | BPF_W | BPF_LEN, 0);
    program.branch(BPF_JGE | BPF_X, 0, To::Next, To::Decide);
    program.step(BPF_LDX | BPF_W | BPF_MEM, OUTER);
    program.step(inner_byte, 0);
    program.step(BPF_ALU | BPF_RSH | BPF_K, 4);
    program.branch(BPF_JEQ | BPF_K, 4, To::Next, To::Decide);

    program.step(inner_word, 12);
    program.mix(MIX[0]);
    program.step(BPF_LDX | BPF_W | BPF_MEM, OUTER);
    program.step(inner_word, 16);
    program.mix(MIX[1]);
    program.step(BPF_LDX | BPF_W | BPF_MEM, OUTER);
    program.step(BPF_LD | BPF_H | BPF_IND, 6);
    program.branch(BPF_JSET | BPF_K, FRAGMENT, To::Decide, To::Next);
    program.step(inner_byte, 9);
    program.branch(BPF_JEQ | BPF_K, WITH_PORTS[0], To::Ports, To::Next);
    program.branch(BPF_JEQ | BPF_K, WITH_PORTS[1], To::Ports, To::Next);
    program.branch(BPF_JEQ | BPF_K, WITH_PORTS[2], To::Ports, To::Decide);

    program.ports = program.steps.len();
    program.step(inner_byte, 0);
    program.step(BPF_ALU | BPF_AND | BPF_K, 0xf);
    program.step(BPF_ALU | BPF_LSH | BPF_K, 2);
    program.step(BPF_ALU | BPF_ADD | BPF_X, 0);
    program.step(BPF_ST, TRANSPORT);
    program.step(BPF_ALU | BPF_ADD | BPF_K, 4);
    program.step(BPF_MISC | BPF_TAX, 0);
    program.step(BPF_LD | BPF_W | BPF_LEN, 0);
    program.branch(BPF_JGE | BPF_X, 0, To::Next, To::Decide);
    program.step(BPF_LDX | BPF_W | BPF_MEM, TRANSPORT);
    program.step(inner_word, 0);
    program.mix(MIX[2]);

    program.decide = program.steps.len();
    program.step(BPF_LD | BPF_W | BPF_MEM, HASH);
    program.step(BPF_ALU | BPF_RSH | BPF_K, 16);
    program.step(BPF_LDX | BPF_W | BPF_MEM, HASH);
    program.step(BPF_ALU | BPF_XOR | BPF_X, 0);
    program.step(BPF_ALU | BPF_MUL | BPF_K, MIX[0]);
    program.step(BPF_ALU | BPF_RSH | BPF_K, 16);
    program.step(BPF_ALU | BPF_MOD | BPF_K, workers as u32);
    program.branch(BPF_JEQ | BPF_K, index as u32, To::Next, To::Refuse);
    program.step(BPF_RET | BPF_K, ALL);
    program.step(BPF_RET | BPF_K, 0);
    program.finish()
}

/// Which of `workers` the programs give an inner packet to.
#[cfg(test)]
pub(crate) fn worker(inner: &[u8], workers: usize) -> usize {
    let hash = flow_hash(inner).unwrap_or(0);
    let mixed = (hash ^ (hash >> 16)).wrapping_mul(MIX[0]) >> 16;
    (mixed % workers as u32) as usize
}

#[cfg(test)]
fn flow_hash(inner: &[u8]) -> Option<u32> {
    let word = |at: usize| Some(u32::from_be_bytes(*inner.get(at..)?.first_chunk()?));
    let first = inner
        .first()
        .filter(|first| inner.len() >= 20 && **first >> 4 == 4)?;
    let mut hash = word(12)?.wrapping_mul(MIX[0]) ^ word(16)?.wrapping_mul(MIX[1]);
    let is_fragment = (word(4)? & FRAGMENT) != 0;
    if !is_fragment && WITH_PORTS.contains(&inner[9].into()) {
        let transport = usize::from(first & 0xf) * 4;
        hash ^= word(transport).map_or(0, |ports| ports.wrapping_mul(MIX[2]));
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};
    use std::io::{ErrorKind, Read, Write};

    const WORKERS: usize = 3;

    /// One socket pair for each worker: what is written to the first is filtered for the second.
    fn pairs() -> Vec<(Socket, Socket)> {
        (0..WORKERS)
            .map(|index| {
                let (send, receive) = Socket::pair(Domain::UNIX, Type::DGRAM, None).unwrap();
                receive.attach_filter(&filter(index, WORKERS)).unwrap();
                receive.set_nonblocking(true).unwrap();
                (send, receive)
            })
            .collect()
    }

    /// Which worker the kernel gives `packet` to; it must be exactly one and get all of it.
    fn deliver(pairs: &mut [(Socket, Socket)], packet: &[u8]) -> usize {
        let mut takers = Vec::new();
        for (index, (send, receive)) in pairs.iter_mut().enumerate() {
            send.write_all(packet).unwrap();
            let mut buffer = [0; 4096];
            match receive.read(&mut buffer) {
                Ok(len) => {
                    assert_eq!(&buffer[..len], packet);
                    takers.push(index);
                }
                Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock),
            }
        }
        assert_eq!(takers.len(), 1, "{packet:02x?}");
        takers[0]
    }

    /// A small generator, so that the packets are the same each time.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            self.0 >> 33
        }

        fn packet(&mut self) -> Vec<u8> {
            let outer_words = 5 + self.next() as usize % 3;
            let mut packet: Vec<u8> = (0..outer_words * 4).map(|_| self.next() as u8).collect();
            packet[0] = 0x40 | outer_words as u8;
            let len = self.next() as usize % 60;
            let mut inner: Vec<u8> = (0..len).map(|_| self.next() as u8).collect();
            if len > 9 && !self.next().is_multiple_of(8) {
                inner[0] = 0x40 | (self.next() % 16) as u8;
                inner[9] = [6, 17, 132, 1, 47][self.next() as usize % 5];
                if self.next().is_multiple_of(2) {
                    inner[6..8].copy_from_slice(&[0x40, 0]);
                }
            }
            packet.extend(inner);
            packet
        }
    }

    #[test]
    fn every_packet_has_exactly_one_worker() {
        let mut pairs = pairs();
        let mut random = Random(1);
        let mut counts = [0; WORKERS];
        for _ in 0..20_000 {
            let packet = random.packet();
            let taker = deliver(&mut pairs, &packet);
            let outer = usize::from(packet[0] & 0xf) * 4;
            assert_eq!(taker, worker(&packet[outer..], WORKERS), "{packet:02x?}");
            counts[taker] += 1;
        }
        assert!(counts.iter().all(|&count| count > 3000), "{counts:?}");
    }

    #[test]
    fn fragments_of_a_packet_stay_together() {
        let mut packet = vec![0; 40];
        packet[0] = 0x45;
        packet[9] = 17;
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        packet[20..24].copy_from_slice(&[0x12, 0x34, 0x56, 0x78]);
        let whole = worker(&packet, 1 << 16);
        packet[6] = 0x20;
        let first = worker(&packet, 1 << 16);
        packet[6..8].copy_from_slice(&[0, 185]);
        packet[20..24].copy_from_slice(&[9; 4]);
        assert_eq!(first, worker(&packet, 1 << 16));
        assert_ne!(first, whole);
    }
}
