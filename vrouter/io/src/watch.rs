//! Changes of interfaces, addresses, routes and neighbors, as the kernel announces them.

use std::thread::JoinHandle;

use futures::StreamExt;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use tokio::sync::oneshot;

use crate::error::{Context, Result};
use crate::link::{Address, Interface};
use crate::netns::Netns;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An interface is new or different.
    Interface(Interface),
    /// An interface is gone.
    InterfaceGone(Interface),
    /// An address was added.
    Address(Address),
    /// An address was removed.
    AddressGone(Address),
    /// Some route was added, replaced or removed; `protocol` is who made it.
    Route {
        /// `rtm_protocol`; [`crate::link::PROTOCOL`] is us.
        protocol: u8,
    },
}

/// A running watch; ends when dropped.
#[derive(Debug)]
pub struct Watch {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Calls `report` on a thread of its own with every change in `netns`, or in the caller's
    /// namespace. Announcements may be lost under load, so `report` should lead to a fresh look
    /// rather than be the only source.
    ///
    /// # Errors
    /// The namespace cannot be entered, or out of file descriptors.
    pub fn start(
        netns: Option<&Netns>,
        report: impl FnMut(Change) + Send + 'static,
    ) -> Result<Self> {
        match netns {
            Some(netns) => netns.run(|| Self::start_here(report))?,
            None => Self::start_here(report),
        }
    }

    fn start_here(mut report: impl FnMut(Change) + Send + 'static) -> Result<Self> {
        let action = || "watch for changes of interfaces and routes".to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context(action)?;
        let (connection, mut messages) = {
            let _entered = runtime.enter();
            let (connection, _, messages) = rtnetlink::new_multicast_connection(&[
                MulticastGroup::Link,
                MulticastGroup::Ipv4Ifaddr,
                MulticastGroup::Ipv6Ifaddr,
                MulticastGroup::Ipv4Route,
                MulticastGroup::Ipv6Route,
            ])
            .context(action)?;
            (connection, messages)
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let body = move || {
            let listen = async {
                while let Some((message, _)) = messages.next().await {
                    if let NetlinkPayload::InnerMessage(inner) = message.payload
                        && let Some(change) = Change::read(&inner)
                    {
                        report(change);
                    }
                }
            };
            runtime.spawn(connection);
            runtime.block_on(async {
                futures::pin_mut!(listen);
                futures::future::select(listen, stopped).await;
            });
        };
        let thread = std::thread::Builder::new()
            .name("netlink".into())
            .spawn(body)
            .context(action)?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // A receiver that is gone means that the thread has ended already.
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Change {
    fn read(message: &RouteNetlinkMessage) -> Option<Self> {
        Some(match message {
            RouteNetlinkMessage::NewLink(link) => Self::Interface(link.into()),
            RouteNetlinkMessage::DelLink(link) => Self::InterfaceGone(link.into()),
            RouteNetlinkMessage::NewAddress(address) => Self::Address(Address::read(address)?),
            RouteNetlinkMessage::DelAddress(address) => Self::AddressGone(Address::read(address)?),
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
                Self::Route {
                    protocol: route.header.protocol.into(),
                }
            }
            _ => return None,
        })
    }
}
