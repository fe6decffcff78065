//! The packet path allocates nothing: counted, not believed.
#![allow(
    unsafe_code,
    reason = "an allocator is an unsafe trait; the library has no unsafe code"
)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use encap::checksum::{assess, verify};
use encap::coalesce::{Fate, Growing, InPlace, Rules, Span, vector};
use encap::ip::Layers;
use encap::offload::Offload;
use encap::reassemble::{Limits, Reassembler};
use encap::{fragment, segment};
use support::{Tcp, payload};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system allocator with the caller's own arguments; counting in a
// constant-initialised thread-local neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is ours.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How many allocations `call` makes on this thread.
fn allocations(call: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    call();
    ALLOCATIONS.with(Cell::get) - before
}

/// A packet in memory of fixed size, as a pool's buffers are.
struct Fixed {
    bytes: Box<[u8]>,
    length: usize,
}

impl Growing for Fixed {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
    fn offload(&self) -> Offload {
        Offload::None
    }
    fn append(&mut self, payload: &[u8]) -> bool {
        let end = self.length + payload.len();
        let Some(room) = self.bytes.get_mut(self.length..end) else {
            return false;
        };
        room.copy_from_slice(payload);
        self.length = end;
        true
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(black_box(Box::new(1)))), 1);
}

#[test]
fn no_packet_allocates() {
    let packets: Vec<Vec<u8>> = (0..20u16)
        .map(|i| {
            let fields = Tcp {
                sequence: 1 + u32::from(i) * 1000,
                identification: i,
                payload: payload(1000, i as u8),
                ..Tcp::default()
            };
            fields.build()
        })
        .collect();
    let mut buffer = packets.concat();
    let each = packets[0].len();
    let mut out = vec![0; buffer.len() + 2000];
    let mut super_packet = None;
    let merging = allocations(|| {
        let mut merge = InPlace::new(Rules::TCP);
        for i in 0..packets.len() {
            let span = Span {
                range: i * each..(i + 1) * each,
                offload: Offload::None,
            };
            assert_eq!(merge.push(&mut buffer, span), None);
        }
        super_packet = merge.finish(&mut buffer);
    });
    let super_packet = super_packet.expect("twenty segments of one flow are one packet");
    let bytes = &buffer[super_packet.range];
    let cutting = allocations(|| {
        let plan = segment::Plan::new(bytes, 0, super_packet.offload).expect("just merged");
        let written = plan.write_all(0..plan.count(), bytes, &[0; 22], &mut out);
        assert_eq!(written.map(|written| written.bytes), Ok(20 * (22 + each)));
    });
    let mut owned: Vec<Fixed> = packets
        .iter()
        .map(|packet| {
            let mut bytes = vec![0; 65536].into_boxed_slice();
            bytes[..packet.len()].copy_from_slice(packet);
            Fixed {
                bytes,
                length: packet.len(),
            }
        })
        .collect();
    let mut fates = [Fate::Absorbed; 20];
    let appending = allocations(|| vector(&mut owned, Rules::TCP, &mut fates));
    assert_eq!(
        fates.iter().filter(|fate| **fate == Fate::Absorbed).count(),
        19
    );

    let mut reassembler = Reassembler::new(Limits::default());
    let fragmenting = allocations(|| {
        let plan = fragment::Plan::new(&packets[0], 0, 576).expect("a whole packet");
        let mut complete = false;
        for i in 0..plan.count() {
            let length = plan.write(i, &packets[0], &mut out).expect("there is room");
            let whole = reassembler.push(&out[..length], 0, 0).expect("a fragment");
            complete = whole.is_some();
        }
        assert!(complete);
    });
    let checking = allocations(|| {
        let layers = Layers::parse(&packets[0], 0).expect("a whole packet");
        assert!(verify(&packets[0], 0).is_ok());
        assert_eq!(assess(&packets[0], &layers), Offload::Verified);
        black_box(layers.flow_hash(&packets[0]));
    });
    assert_eq!([merging, cutting, appending, fragmenting, checking], [0; 5]);
}
