//! Interfaces, addresses, routes and neighbor entries of one network namespace, over rtnetlink
//! (RFC 3549, `rtnetlink(7)`).
//!
//! [`Link`] keeps a single-threaded runtime inside; its functions block until the kernel has
//! answered. Not for the packet path.

mod address;
mod neighbor;
mod route;
mod veth;

use std::io;

use futures::TryStreamExt;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec};
use tokio::runtime::{Builder, Runtime};

pub use self::address::Address;
pub use self::neighbor::Neighbor;
pub use self::route::{PROTOCOL, Route, RouteKind, Scope};
pub(crate) use self::route::{gateway, ip};
pub use self::veth::End;
use crate::error::{Context, Error, Result};
use crate::netns::Netns;

/// A netlink socket of one network namespace.
#[derive(Debug)]
pub struct Link {
    runtime: Runtime,
    handle: Handle,
    /// For error texts: where.
    place: String,
}

/// What the kernel says of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Number in its namespace.
    pub index: u32,
    pub name: String,
    /// The longest IP packet, in bytes.
    pub mtu: u32,
    /// Ethernet address, if it has one.
    pub mac: Option<[u8; 6]>,
    /// Of a veth: the number of its other end, in that one's namespace.
    pub peer: Option<u32>,
    /// Whether it was set up.
    pub up: bool,
    /// Whether it also has a carrier.
    pub running: bool,
}

impl Link {
    /// A socket in the calling thread's namespace.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn open() -> Result<Self> {
        Self::at("this namespace".into())
    }

    /// A socket in `netns`; it stays there.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn open_in(netns: &Netns) -> Result<Self> {
        netns.run(|| Self::at(netns.to_string()))?
    }

    fn at(place: String) -> Result<Self> {
        let action = || format!("open a netlink socket in {place}");
        let runtime = Builder::new_current_thread()
            .enable_io()
            .build()
            .context(action)?;
        let handle = {
            let _entered = runtime.enter();
            let (connection, handle, _) = rtnetlink::new_connection().context(action)?;
            runtime.spawn(connection);
            handle
        };
        Ok(Self {
            runtime,
            handle,
            place,
        })
    }

    /// Waits for an answer and says what was asked when it is an error.
    fn wait<T>(
        &self,
        action: impl FnOnce() -> String,
        answer: impl Future<Output = std::result::Result<T, rtnetlink::Error>>,
    ) -> Result<T> {
        self.runtime
            .block_on(answer)
            .map_err(|error| Error::System {
                action: format!("{} in {}", action(), self.place),
                source: into_io(error),
            })
    }

    /// All interfaces.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn interfaces(&self) -> Result<Vec<Interface>> {
        let messages: Vec<_> = self.wait(
            || "list the interfaces".into(),
            self.handle.link().get().execute().try_collect(),
        )?;
        Ok(messages.iter().map(Interface::from).collect())
    }

    /// The interface `name`, or `None`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn interface(&self, name: &str) -> Result<Option<Interface>> {
        let request = self.handle.link().get().match_name(name);
        self.one(|| format!("look for the interface {name}"), request)
    }

    /// The interface numbered `index`, or `None`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn interface_at(&self, index: u32) -> Result<Option<Interface>> {
        let request = self.handle.link().get().match_index(index);
        self.one(|| format!("look for the interface number {index}"), request)
    }

    fn one(
        &self,
        action: impl FnOnce() -> String,
        request: rtnetlink::LinkGetRequest,
    ) -> Result<Option<Interface>> {
        // The answer is read to its end, so that the request is over when the next one starts.
        match self.wait(action, request.execute().try_collect::<Vec<_>>()) {
            Ok(found) => Ok(found.first().map(Interface::from)),
            Err(e) if e.os_error() == Some(libc::ENODEV) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The interface `name`.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn expect_interface(&self, name: &str) -> Result<Interface> {
        self.interface(name)?.ok_or_else(|| Error::NotFound {
            what: format!("the interface {name} in {}", self.place),
        })
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// There is none of that number.
    pub fn set_up(&self, index: u32) -> Result<()> {
        self.change(
            || format!("set up the interface number {index}"),
            unspec(index).up(),
        )
    }

    /// Sets an interface down.
    ///
    /// # Errors
    /// There is none of that number.
    pub fn set_down(&self, index: u32) -> Result<()> {
        self.change(
            || format!("set down the interface number {index}"),
            unspec(index).down(),
        )
    }

    /// Sets the longest IP packet an interface takes, in bytes.
    ///
    /// # Errors
    /// There is none of that number, or it does not take the value.
    pub fn set_mtu(&self, index: u32, mtu: u32) -> Result<()> {
        let action = || format!("set the MTU {mtu} of the interface number {index}");
        self.change(action, unspec(index).mtu(mtu))
    }

    /// Sets an interface's Ethernet address.
    ///
    /// # Errors
    /// There is none of that number, or it has no such addresses.
    pub fn set_mac(&self, index: u32, mac: [u8; 6]) -> Result<()> {
        let action = || format!("set the MAC {mac:02x?} of the interface number {index}");
        self.change(action, unspec(index).address(mac.to_vec()))
    }

    fn change(
        &self,
        action: impl FnOnce() -> String,
        change: LinkMessageBuilder<LinkUnspec>,
    ) -> Result<()> {
        self.wait(action, self.handle.link().set(change.build()).execute())
    }
}

fn unspec(index: u32) -> LinkMessageBuilder<LinkUnspec> {
    LinkUnspec::new_with_index(index)
}

impl From<&LinkMessage> for Interface {
    fn from(message: &LinkMessage) -> Self {
        let flags = message.header.flags;
        let mut interface = Self {
            index: message.header.index,
            name: String::new(),
            mtu: 0,
            mac: None,
            peer: None,
            up: flags.contains(LinkFlags::Up),
            running: flags.contains(LinkFlags::LowerUp),
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
                LinkAttribute::Address(mac) => interface.mac = mac.as_slice().try_into().ok(),
                LinkAttribute::Link(peer) => interface.peer = Some(*peer),
                _ => {}
            }
        }
        interface
    }
}

/// The kernel's error number where there is one.
fn into_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}
