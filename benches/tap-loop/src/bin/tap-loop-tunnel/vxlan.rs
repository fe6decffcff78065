//! VXLAN between the pod's TAP and the underlay: a header before each frame, and what packets' sizes
//! need, done as `vrouterd` does it.
//!
//! TCP super-packets leave whole where the kernel cuts them; UDP super-packets, of which the other
//! side would not learn where their datagrams end, are cut here. What arrives in several datagrams
//! is joined again. All flows have one outer source port, so that they leave in one batch.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;

use encap::Family;
use encap::checksum;
use encap::coalesce::{self, Fate, Growing, InPlace, Rules, Span};
use encap::ethernet;
use encap::ip::{Layers, Part};
use encap::offload::{Gso, GsoKind, Offload, Partial};
use encap::protocol::{TCP, UDP};
use encap::segment::Plan;
use encap::vxlan::{HEADER_LEN, PORT, Repr, Vni};
use vrouter_dataplane::buffer::{Buffer, Meta, Pool};
use vrouter_dataplane::device::Vector;
use vrouter_io::netns::Netns;
use vrouter_io::vxlan::{self, VxlanSocket};

use crate::link::{self, Mac};

/// What stands before an inner IP packet of a datagram.
const INNER: usize = HEADER_LEN + ethernet::HEADER_LEN;
/// Bytes of a frame that fits one outer IP packet.
const MOST_WHOLE: usize =
    encap::Tunnel::Vxlan(encap::Family::V4).longest_inner() + ethernet::HEADER_LEN;
/// Bytes in one buffer, within what a UDP message over IPv4 can hold (65,507).
const MOST_BYTES: usize = 65_000;
/// The TAP by which the kernel takes super-packets, named as `vrouterd` names its own.
const ENCAPSULATOR: &str = "vrouter-vxlan";

/// Opens the node's socket, over interface number `underlay`.
///
/// # Errors
/// The address is not the node's, or the port is taken.
pub(crate) fn open(
    node: &Netns,
    local: Ipv4Addr,
    underlay: u32,
) -> Result<VxlanSocket, Box<dyn std::error::Error>> {
    let mut sockets = vxlan::open(Some(node), IpAddr::V4(local), PORT, 1)?;
    // As in `vrouterd`: where the kernel cannot segment for us, we do.
    if let Err(error) = vxlan::segment_in_kernel(&mut sockets, Some(node), ENCAPSULATOR, underlay) {
        eprintln!("tap-loop-tunnel: TCP is segmented in user space: {error}");
    }
    Ok(crate::only(sockets)?)
}

/// The way of a node that encapsulates.
pub(crate) struct Vxlan {
    peer: IpAddr,
    header: [u8; HEADER_LEN],
    /// Whether the socket takes TCP super-packets whole.
    takes_tcp: bool,
    pod: Mac,
    mtu: u16,
    spans: Vec<Span>,
    inner: Vec<Inner>,
    fates: Vec<Fate>,
}

impl Vxlan {
    pub(crate) fn new(peer: Ipv4Addr, takes_tcp: bool, pod: Mac, mtu: u16) -> Self {
        let mut header = [0; HEADER_LEN];
        Repr { vni: Vni::CALICO }.emit(&mut header);
        Self {
            peer: IpAddr::V4(peer),
            header,
            takes_tcp,
            pod,
            mtu,
            spans: Vec::new(),
            inner: Vec::new(),
            fates: Vec::new(),
        }
    }

    /// Frames of the pod become datagrams.
    pub(crate) fn encapsulate(&self, frames: &mut Vector, pool: &mut Pool, out: &mut Vector) {
        for mut frame in frames.drain(..) {
            let offload = frame.meta.offload;
            let whole = match offload {
                Offload::Segmented(_, gso) => {
                    let takes = self.takes_tcp && gso.kind != GsoKind::UdpL4;
                    takes && frame.len() <= MOST_WHOLE
                }
                Offload::None | Offload::Verified | Offload::Partial(_) => {
                    frame.meta.offload = Offload::None;
                    checksum::complete(frame.bytes_mut(), offload).is_ok()
                }
            };
            if whole && link::prepend(&mut frame, &self.header) {
                frame.meta.remote = Some(self.peer);
                out.push(frame);
                continue;
            }
            if offload.gso().is_some() {
                self.segment(&frame, pool, out);
            }
            pool.give(frame);
        }
    }

    /// Cuts a super-packet into datagrams. What finds no buffer is lost, as on a wire.
    fn segment(&self, frame: &Buffer, pool: &mut Pool, out: &mut Vector) {
        let Ok(plan) = Plan::new(frame.bytes(), ethernet::HEADER_LEN, frame.meta.offload) else {
            return;
        };
        let mut first = 0;
        while first < plan.count() {
            let batch = plan.batch(
                first,
                self.header.len(),
                encap::Tunnel::MAX_SEGMENTS,
                MOST_BYTES,
            );
            first = batch.end;
            let several = batch.len() > 1;
            let Some(mut buffer) = pool.take() else {
                return;
            };
            match plan.write_all(batch, frame.bytes(), &self.header, buffer.blank()) {
                Ok(written) => {
                    buffer.received(written.bytes);
                    buffer.meta.remote = Some(self.peer);
                    if several {
                        buffer.meta.segment = written.segment_size as u16;
                    }
                    out.push(buffer);
                }
                Err(_) => pool.give(buffer),
            }
        }
    }

    /// Datagrams become frames for the pod.
    pub(crate) fn decapsulate(&mut self, received: &mut Vector, pool: &mut Pool, out: &mut Vector) {
        for mut buffer in received.drain(..) {
            let segment = usize::from(buffer.meta.segment);
            if segment == 0 {
                buffer.meta = Meta::default();
                if buffer.strip(INNER) {
                    buffer.meta.offload = unfinished(buffer.bytes(), self.mtu);
                    self.inner.push(Inner(buffer));
                } else {
                    pool.give(buffer);
                }
                continue;
            }
            self.join(&mut buffer, segment);
            self.take_apart(buffer, pool);
        }
        self.join_buffers(pool);
        for Inner(mut packet) in self.inner.drain(..) {
            if link::to_pod(&mut packet, self.pod) {
                out.push(packet);
            } else {
                pool.give(packet);
            }
        }
    }

    /// Joins the inner packets of a train of datagrams of `segment` bytes where they lie.
    fn join(&mut self, train: &mut Buffer, segment: usize) {
        let mut merge = InPlace::new(Rules::TCP_AND_UDP);
        let length = train.len();
        for at in (0..length).step_by(segment) {
            let end = length.min(at + segment);
            let span = Span {
                range: end.min(at + INNER)..end,
                offload: Offload::None,
            };
            self.spans.extend(merge.push(train.bytes_mut(), span));
        }
        self.spans.extend(merge.finish(train.bytes_mut()));
    }

    /// The first packet of a train stays in its buffer, the others are copied out.
    fn take_apart(&mut self, mut train: Buffer, pool: &mut Pool) {
        let mut spans = self.spans.drain(..);
        let Some(first) = spans.next() else {
            pool.give(train);
            return;
        };
        let place = self.inner.len();
        for span in spans {
            let Some(mut buffer) = pool.take() else {
                break;
            };
            if buffer.set(&train.bytes()[span.range]) {
                buffer.meta.offload = span.offload;
                self.inner.push(Inner(buffer));
            } else {
                pool.give(buffer);
            }
        }
        train.meta = Meta {
            offload: first.offload,
            ..Meta::default()
        };
        if train.narrow(first.range) {
            self.inner.insert(place, Inner(train));
        } else {
            pool.give(train);
        }
    }

    /// Joins packets that came in buffers of their own.
    fn join_buffers(&mut self, pool: &mut Pool) {
        if self.inner.len() < 2 {
            return;
        }
        self.fates.clear();
        self.fates.resize(self.inner.len(), Fate::Absorbed);
        coalesce::vector(&mut self.inner, Rules::TCP_AND_UDP, &mut self.fates);
        let mut fates = self.fates.iter();
        for Inner(packet) in self.inner.extract_if(.., |packet| match fates.next() {
            Some(Fate::Kept(offload)) => {
                packet.0.meta.offload = *offload;
                false
            }
            Some(Fate::Absorbed) | None => true,
        }) {
            pool.give(packet);
        }
    }
}

/// A packet out of the tunnel, from its IP header on.
struct Inner(Buffer);

impl Growing for Inner {
    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }

    fn offload(&self) -> Offload {
        self.0.meta.offload
    }

    fn append(&mut self, payload: &[u8]) -> bool {
        self.0.append(payload)
    }
}

/// What is left to do for a packet that arrived without a word about it: a TCP super-packet that
/// crossed the underlay whole has the pseudo-header's sum in place of its checksum, and any size
/// for its segments will do.
fn unfinished(packet: &[u8], mtu: u16) -> Offload {
    let Ok(layers) = Layers::parse(packet, 0) else {
        return Offload::None;
    };
    let (l4, offset) = match (layers.protocol, layers.family, layers.part) {
        (TCP, Family::V4, Part::Whole) => (layers.l4, 16),
        (UDP, Family::V4, Part::Whole) => (layers.l4, 6),
        (_, _, _) => return Offload::None,
    };
    let address = |at: usize| packet[at..].first_chunk().copied().map(Ipv4Addr::from);
    let (Some(source), Some(destination)) = (address(12), address(16)) else {
        return Offload::None;
    };
    let length = (layers.end - l4) as u16;
    let pseudo = checksum::pseudo_v4(source, destination, layers.protocol, length);
    let field = l4 + usize::from(offset);
    if packet.get(field..field + 2) != Some(&pseudo.fold().to_be_bytes()) {
        return Offload::None;
    }
    let partial = Partial {
        start: l4 as u16,
        offset,
    };
    let header = l4 + usize::from(packet.get(l4 + 12).map_or(0, |byte| byte >> 4)) * 4;
    match NonZeroU16::new(mtu.saturating_sub(header as u16)) {
        Some(size) if layers.protocol == TCP && layers.end > usize::from(mtu) => {
            let gso = Gso {
                kind: GsoKind::Tcp4,
                ecn: false,
                header_len: header as u16,
                size,
            };
            Offload::Segmented(partial, gso)
        }
        Some(_) | None => Offload::Partial(partial),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: Mac = [2, 0, 0, 0, 0, 1];
    const MTU: u16 = 1450;

    /// A frame with a super-packet of `payload` bytes, to be cut into segments of 1,000.
    fn super_frame(protocol: u8, payload: usize) -> Buffer {
        let (kind, header, offset) = match protocol {
            TCP => (GsoKind::Tcp4, 20, 16),
            _ => (GsoKind::UdpL4, 8, 6),
        };
        let mut ip = vec![0; 20 + header];
        let length = (ip.len() + payload) as u16;
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&length.to_be_bytes());
        ip[6] = 0x40;
        ip[8] = 64;
        ip[9] = protocol;
        ip[12..20].copy_from_slice(&[10, 65, 0, 1, 10, 65, 0, 65]);
        let sum = checksum::ipv4_header(&ip[..20]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let transport = length - 20;
        if protocol == TCP {
            ip[32] = 5 << 4;
        } else {
            ip[24..26].copy_from_slice(&transport.to_be_bytes());
        }
        let (from, to) = ([10, 65, 0, 1].into(), [10, 65, 0, 65].into());
        let pseudo = checksum::pseudo_v4(from, to, protocol, transport).fold();
        let field = 20 + usize::from(offset);
        ip[field..field + 2].copy_from_slice(&pseudo.to_be_bytes());
        ip.extend((0..payload).map(|at| (at % 251) as u8));
        let mut frame = Buffer::from_slice(&ip);
        let partial = Partial { start: 20, offset };
        let gso = Gso {
            kind,
            ecn: false,
            header_len: 20 + header as u16,
            size: NonZeroU16::new(1000).unwrap(),
        };
        frame.meta.offload = Offload::Segmented(partial, gso);
        assert!(link::to_pod(&mut frame, POD));
        frame
    }

    /// What the other node's pod gets, and in how many buffers it travelled.
    fn across(frame: Buffer, takes_tcp: bool) -> (Vector, usize) {
        let mut node = Vxlan::new(Ipv4Addr::LOCALHOST, takes_tcp, POD, MTU);
        let (mut pool, mut wire, mut frames) = (Pool::new(64), Vector::new(), Vector::new());
        node.encapsulate(&mut vec![frame], &mut pool, &mut wire);
        let buffers = wire.len();
        // No socket carries the offload word.
        wire.iter_mut()
            .for_each(|datagram| datagram.meta.offload = Offload::None);
        node.decapsulate(&mut wire, &mut pool, &mut frames);
        (frames, buffers)
    }

    #[test]
    fn super_packets_arrive_as_they_were() {
        for (protocol, takes_tcp) in [(TCP, true), (TCP, false), (UDP, true)] {
            let sent = super_frame(protocol, 30_500);
            let (bytes, size) = (sent.bytes().to_vec(), sent.meta.offload.gso().unwrap().size);
            let (frames, buffers) = across(sent, takes_tcp);
            assert_eq!((frames.len(), buffers), (1, 1), "{protocol}");
            assert_eq!(frames[0].bytes()[14 + 40..], bytes[14 + 40..], "{protocol}");
            let gso = frames[0].meta.offload.gso().unwrap();
            let whole = protocol == TCP && takes_tcp;
            // Nobody said so, hence the largest that fits.
            let expected = if whole { MTU - 40 } else { size.get() };
            assert_eq!(gso.size.get(), expected, "{protocol}");
        }
    }

    #[test]
    fn a_train_that_was_cut_off_is_dropped() {
        let mut node = Vxlan::new(Ipv4Addr::LOCALHOST, true, POD, MTU);
        let (mut pool, mut frames) = (Pool::new(64), Vector::new());
        let mut train = Buffer::from_slice(&[8; 45]);
        train.meta.segment = 40;
        let short = Buffer::from_slice(&[8; 10]);
        node.decapsulate(&mut vec![train, short], &mut pool, &mut frames);
        assert!(frames.is_empty());
    }
}
