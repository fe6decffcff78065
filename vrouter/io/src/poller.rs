//! Where a worker sleeps: `epoll` through mio, edge-triggered.
//!
//! Edge-triggered means that a ready interface is named once; read it until
//! [`Device::receive`](vrouter_dataplane::device::Device::receive) says that it is empty.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use vrouter_dataplane::id::InterfaceId;

use crate::error::{Context, Result};

const WAKER: Token = Token(usize::MAX);
const EVENTS: usize = 256;

/// One worker's set of devices to sleep on.
#[derive(Debug)]
pub struct Poller {
    poll: Poll,
    events: Events,
}

impl Poller {
    /// An empty set, and what wakes its sleeper from other threads (new tables, shutdown).
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn new() -> Result<(Self, Waker)> {
        let poll = Poll::new().context(|| "make an epoll instance".into())?;
        let waker = Waker::new(poll.registry(), WAKER).context(|| "make an eventfd".into())?;
        Ok((
            Self {
                poll,
                events: Events::with_capacity(EVENTS),
            },
            waker,
        ))
    }

    /// Watches `fd`, a queue of `interface`. What already waits in it is reported too.
    ///
    /// # Errors
    /// The descriptor cannot be polled or is in the set already.
    pub fn register(&self, interface: InterfaceId, fd: RawFd) -> Result<()> {
        let token = Token(interface.index());
        self.poll
            .registry()
            .register(&mut SourceFd(&fd), token, Interest::READABLE)
            .context(|| format!("poll descriptor {fd} of interface {interface}"))
    }

    /// Stops watching `fd`; do this before closing it.
    ///
    /// # Errors
    /// It was not watched.
    pub fn deregister(&self, fd: RawFd) -> Result<()> {
        self.poll
            .registry()
            .deregister(&mut SourceFd(&fd))
            .context(|| format!("stop polling descriptor {fd}"))
    }

    /// Sleeps until a device is ready, the waker is used or `timeout` is over (`None`: for ever;
    /// zero: looks and returns), and names the interfaces that are ready: something arrived, or
    /// the device broke, which its next `receive` tells.
    ///
    /// # Errors
    /// None that a caller could mend; a signal is no error.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
    ) -> io::Result<impl Iterator<Item = InterfaceId> + '_> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            other => other?,
        }
        let interface = |token: Token| u16::try_from(token.0).ok().map(InterfaceId);
        Ok(self
            .events
            .iter()
            .filter_map(move |event| interface(event.token())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn names_what_is_ready_and_wakes() {
        let (mut poller, waker) = Poller::new().unwrap();
        let (a, mut b) = UnixStream::pair().unwrap();
        poller.register(InterfaceId(7), a.as_raw_fd()).unwrap();
        assert_eq!(poller.wait(Some(Duration::ZERO)).unwrap().count(), 0);
        b.write_all(&[1]).unwrap();
        let ready: Vec<_> = poller.wait(None).unwrap().collect();
        assert_eq!(ready, [InterfaceId(7)]);
        // The edge was taken; only the waker ends this wait.
        waker.wake().unwrap();
        assert_eq!(poller.wait(None).unwrap().count(), 0);
        poller.deregister(a.as_raw_fd()).unwrap();
        assert!(poller.deregister(a.as_raw_fd()).is_err());
    }
}
