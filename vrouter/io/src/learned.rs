//! Routes of the main table that one routing daemon made: all of them, then each change.
//!
//! The kernel drops announcements when the receive buffer is full (`ENOBUFS`, `netlink(7)`), and says
//! nothing of IPv4 routes that went with their interface or address; in both cases all routes are read
//! again.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use rtnetlink::packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteNextHopFlags, RouteProtocol, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::{Socket, protocols::NETLINK_ROUTE};

use crate::error::{Context, Result};
use crate::link::{gateway, ip};

/// A full Internet table's announcements.
const RECEIVE_BUFFER: usize = 256 << 20;
/// As long as the kernel's largest message (`NLMSG_GOODSIZE` of dumps).
const MESSAGE: usize = 64 << 10;
/// Between two looks whether the watch is to end.
const TURN: Duration = Duration::from_millis(500);
/// From a change of interfaces until all routes are read again, and between two such readings.
const SETTLE: Duration = Duration::from_millis(50);
const BETWEEN: Duration = Duration::from_secs(1);
/// Changes that are told at once.
const BATCH: usize = 16_384;
/// `linux/rtnetlink.h`: RTNLGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE.
const GROUPS: [u32; 5] = [1, 5, 7, 9, 11];

/// One way of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hop {
    /// The next router; `None`: the destination is on the link.
    pub via: Option<IpAddr>,
    /// The number of the outgoing interface.
    pub interface: u32,
    /// The share of flows, at least 1.
    pub weight: u16,
}

/// A route: the kernel knows it by destination and metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// Where to.
    pub destination: IpNet,
    /// The lower wins.
    pub metric: u32,
    /// By whom; none: the route is gone, or leads nowhere.
    pub hops: Vec<Hop>,
}

/// What is told of routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteReport {
    /// All there are.
    All(Vec<Learned>),
    /// What is new, different or gone since, in order.
    Changes(Vec<Learned>),
}

/// A running watch; ends when dropped.
#[derive(Debug)]
pub struct LearnedWatch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LearnedWatch {
    /// Calls `report` on a thread of its own: with all routes of `protocol` in the calling thread's
    /// namespace, then with each change.
    ///
    /// # Errors
    /// Out of file descriptors, or the kernel refuses to announce routes.
    pub fn start(protocol: u8, report: impl FnMut(RouteReport) + Send + 'static) -> Result<Self> {
        let action = || "watch learned routes".to_owned();
        let mut socket = Socket::new(NETLINK_ROUTE).context(action)?;
        socket.bind_auto().context(action)?;
        enlarge(&socket).context(action)?;
        let question = Socket::new(NETLINK_ROUTE).context(action)?;
        question.set_netlink_get_strict_chk(true).context(action)?;
        for group in GROUPS {
            socket.add_membership(group).context(action)?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let mut watcher = Watcher {
            socket,
            question,
            protocol,
            report,
            buffer: Vec::with_capacity(MESSAGE),
            changes: Vec::new(),
            reading: Some(Instant::now()),
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::Builder::new()
            .name("learned-routes".into())
            .spawn(move || watcher.run())
            .context(action)?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for LearnedWatch {
    fn drop(&mut self) {
        // Nothing else is read after the flag.
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

/// Without the right to have more (CAP_NET_ADMIN) what is allowed has to do: an overrun heals.
fn enlarge(socket: &Socket) -> io::Result<()> {
    setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)
        .or_else(|_| setsockopt(socket, sockopt::RcvBuf, &RECEIVE_BUFFER))?;
    let turn = TimeVal::milliseconds(i64::try_from(TURN.as_millis()).unwrap_or(i64::MAX));
    setsockopt(socket, sockopt::ReceiveTimeout, &turn)?;
    Ok(())
}

struct Watcher<F> {
    /// Where changes are announced.
    socket: Socket,
    /// Where all routes are asked for.
    question: Socket,
    protocol: u8,
    report: F,
    buffer: Vec<u8>,
    /// Not told yet.
    changes: Vec<Learned>,
    /// When all routes are read.
    reading: Option<Instant>,
    stop: Arc<AtomicBool>,
}

impl<F: FnMut(RouteReport)> Watcher<F> {
    fn run(&mut self) {
        let mut last: Option<Instant> = None;
        while !self.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let rested = last.is_none_or(|last| now >= last + BETWEEN);
            if rested && self.reading.is_some_and(|due| due <= now) {
                self.reading = None;
                self.changes.clear();
                last = Some(now);
                match self.read_all() {
                    Ok(routes) => (self.report)(RouteReport::All(routes)),
                    // The kernel changed it under us, or has no memory.
                    Err(_) => self.reading = Some(now + SETTLE),
                }
            }
            self.announced();
        }
    }

    /// Takes announcements: waits for the first, then all that are there.
    fn announced(&mut self) {
        let mut flags = if self.reading.is_some() {
            libc::MSG_DONTWAIT
        } else {
            0
        };
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, flags) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.reading = Some(Instant::now());
                    break;
                }
                Err(_) => break,
            }
            flags = libc::MSG_DONTWAIT;
            let buffer = std::mem::take(&mut self.buffer);
            for message in messages(&buffer) {
                self.note(message.payload);
            }
            self.buffer = buffer;
            if self.changes.len() >= BATCH {
                break;
            }
        }
        if !self.changes.is_empty() {
            (self.report)(RouteReport::Changes(std::mem::take(&mut self.changes)));
        }
        if self.reading.is_some() {
            std::thread::sleep(SETTLE);
        }
    }

    fn note(&mut self, payload: NetlinkPayload<RouteNetlinkMessage>) {
        let NetlinkPayload::InnerMessage(message) = payload else {
            return;
        };
        match message {
            RouteNetlinkMessage::NewRoute(route) => {
                self.changes.extend(learned(&route, self.protocol));
            }
            RouteNetlinkMessage::DelRoute(route) => {
                let gone = learned(&route, self.protocol).map(|route| Learned {
                    hops: Vec::new(),
                    ..route
                });
                self.changes.extend(gone);
            }
            // Routes may have gone with it.
            RouteNetlinkMessage::NewLink(_)
            | RouteNetlinkMessage::DelLink(_)
            | RouteNetlinkMessage::DelAddress(_) => {
                self.reading.get_or_insert_with(|| Instant::now() + SETTLE);
            }
            _ => {}
        }
    }

    fn read_all(&mut self) -> io::Result<Vec<Learned>> {
        let mut all = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut route = RouteMessage::default();
            route.header.address_family = family;
            route.header.table = RouteHeader::RT_TABLE_MAIN;
            route.header.protocol = RouteProtocol::from(self.protocol);
            let mut header = NetlinkHeader::default();
            header.flags = NLM_F_REQUEST | NLM_F_DUMP;
            let message = RouteNetlinkMessage::GetRoute(route);
            let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
            message.finalize();
            let mut bytes = vec![0; message.buffer_len()];
            message.serialize(&mut bytes);
            self.question.send(&bytes, 0)?;
            let mut whole = true;
            'answer: loop {
                self.buffer.clear();
                self.question.recv(&mut self.buffer, 0)?;
                for message in messages(&self.buffer) {
                    whole &= message.header.flags & NLM_F_DUMP_INTR == 0;
                    match message.payload {
                        NetlinkPayload::Done(_) => break 'answer,
                        NetlinkPayload::Error(error) => return Err(error.to_io()),
                        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => {
                            all.extend(learned(&route, self.protocol));
                        }
                        _ => {}
                    }
                }
            }
            if !whole {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        Ok(all)
    }
}

/// The messages of a datagram, as far as they can be read.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = NetlinkMessage<RouteNetlinkMessage>> {
    std::iter::from_fn(move || {
        let message = NetlinkMessage::deserialize(bytes).ok()?;
        let length = (message.header.length as usize).next_multiple_of(4);
        bytes = bytes.get(length..).unwrap_or_default();
        Some(message)
    })
}

/// A route of the daemon in the main table.
fn learned(message: &RouteMessage, protocol: u8) -> Option<Learned> {
    let header = &message.header;
    if header.table != RouteHeader::RT_TABLE_MAIN || u8::from(header.protocol) != protocol {
        return None;
    }
    let any: IpAddr = match header.address_family {
        AddressFamily::Inet => [0; 4].into(),
        AddressFamily::Inet6 => [0; 16].into(),
        _ => return None,
    };
    let mut route = Learned {
        destination: IpNet::new(any, header.destination_prefix_length).ok()?,
        metric: 0,
        hops: Vec::new(),
    };
    let (mut via, mut interface) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => {
                route.destination = IpNet::new(ip(to)?, header.destination_prefix_length).ok()?;
            }
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::MultiPath(hops) => {
                let alive = hops.iter();
                let alive = alive.filter(|hop| !hop.flags.contains(RouteNextHopFlags::Dead));
                route.hops.extend(alive.map(|hop| Hop {
                    via: hop.attributes.iter().find_map(gateway),
                    interface: hop.interface_index,
                    weight: u16::from(hop.hops) + 1,
                }));
            }
            other => via = via.or_else(|| gateway(other)),
        }
    }
    if let Some(interface) = interface.filter(|_| header.kind == RouteType::Unicast) {
        route.hops.push(Hop {
            via,
            interface,
            weight: 1,
        });
    }
    Some(route)
}
