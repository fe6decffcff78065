//! Programs at interfaces: tcx links that are pinned, or filters of clsact before Linux 6.6.

use std::fs;
use std::io;
use std::path::Path;

use aya::programs::links::{FdLink, LinkOrder, PinnedLink};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, tc};
use nix::errno::Errno;
use nix::net::if_::if_indextoname;

use crate::error::OffloadError;

/// Priority and handle of our filters, by which they are found again.
const PRIORITY: u16 = 1;
const HANDLE: TcHandle = TcHandle::new(0, 0x7672);
/// How the pin of a program ends that is attached by a filter.
const FILTER: &str = "-filter";

/// How programs are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// By tcx links where the kernel has them (Linux 6.6), else by filters.
    Any,
    /// By filters.
    Filters,
}

/// Attaches a program to an interface, in place of an earlier version of it. Its pin is named by `prefix`
/// and the index.
pub(crate) fn attach(
    program: &mut SchedClassifier,
    name: &'static str,
    (prefix, ifindex): (&str, u32),
    directory: &Path,
    (attachment, direction): (Attachment, TcAttachType),
) -> Result<(), OffloadError> {
    let refused = |source| OffloadError::Program {
        program: name,
        source,
    };
    let interface = interface_name(ifindex)?;
    if attachment == Attachment::Any {
        let pin = directory.join(format!("{prefix}{ifindex}"));
        if replace(program, &pin).map_err(refused)? {
            return Ok(());
        }
        let order = TcAttachOptions::TcxOrder(LinkOrder::default());
        match program.attach_with_options(&interface, direction, order) {
            Ok(id) => {
                let link = program.take_link(id).map_err(refused)?;
                let link = FdLink::try_from(link).map_err(|source| OffloadError::Link {
                    path: pin.clone(),
                    source,
                })?;
                return link
                    .pin(&pin)
                    .map(drop)
                    .map_err(|source| OffloadError::Pin { path: pin, source });
            }
            Err(error) if is_unknown(&error) => {}
            Err(error) => return Err(refused(error)),
        }
    }
    attach_filter(program, &interface, direction)?.map_err(refused)?;
    let pin = directory.join(format!("{prefix}{ifindex}{FILTER}"));
    unpin(&pin)?;
    program
        .pin(&pin)
        .map_err(|source| OffloadError::Pin { path: pin, source })
}

/// Puts a program in the place of the one whose link is pinned; false when there is none, or the
/// interface it was at is gone and another one has its index.
fn replace(program: &mut SchedClassifier, pin: &Path) -> Result<bool, ProgramError> {
    let Ok(pinned) = PinnedLink::from_pin(pin) else {
        return Ok(false);
    };
    let replaced = SchedClassifierLink::try_from(FdLink::from(pinned))
        .map_err(io::Error::other)
        .and_then(|link| program.attach_to_link(link).map_err(io::Error::other));
    match replaced {
        // The pin alone keeps it.
        Ok(id) => program.take_link(id).map(|_| true),
        Err(_) => fs::remove_file(pin).map(|()| false).map_err(Into::into),
    }
}

/// Whether the kernel does not know tcx.
fn is_unknown(error: &ProgramError) -> bool {
    let ProgramError::SyscallError(error) = error else {
        return false;
    };
    error.io_error.raw_os_error() == Some(Errno::EINVAL as i32)
}

/// A filter stays when its program's file is closed.
fn attach_filter(
    program: &mut SchedClassifier,
    interface: &str,
    direction: TcAttachType,
) -> Result<Result<(), ProgramError>, TcError> {
    // Fails where it is there already; the filter's own error tells if it is not.
    let added = tc::qdisc_add_clsact(interface);
    let known = SchedClassifierLink::attached(interface, direction, PRIORITY, HANDLE, None)?;
    let options = TcAttachOptions::Netlink(NlOptions {
        priority: PRIORITY,
        handle: HANDLE,
        classid: None,
    });
    let attached = program
        .attach_to_link(known)
        .or_else(|_| program.attach_with_options(interface, direction, options));
    match attached {
        Ok(id) => Ok(program.take_link(id).map(std::mem::forget)),
        Err(error) => added.map(|()| Err(error)),
    }
}

/// Takes what is there of our programs from an interface.
pub(crate) fn detach(
    programs: &[&str],
    (prefix, ifindex): (&str, u32),
    directory: &Path,
) -> Result<(), OffloadError> {
    unpin(&directory.join(format!("{prefix}{ifindex}")))?;
    let filter = directory.join(format!("{prefix}{ifindex}{FILTER}"));
    if filter.exists()
        && let Ok(interface) = interface_name(ifindex)
    {
        for name in programs {
            // One of them is there, unless somebody else removed it.
            for direction in [TcAttachType::Ingress, TcAttachType::Egress] {
                let _ = tc::qdisc_detach_program(&interface, direction, name);
            }
        }
    }
    unpin(&filter)
}

/// The indices of the interfaces that have a program whose pin has this prefix.
pub(crate) fn attached(prefix: &str, directory: &Path) -> Vec<u32> {
    let names = fs::read_dir(directory).into_iter().flatten().flatten();
    let index = |name: &str| {
        let name = name.strip_suffix(FILTER).unwrap_or(name);
        name.strip_prefix(prefix)?.parse().ok()
    };
    names
        .filter_map(|entry| index(entry.file_name().to_str()?))
        .collect()
}

fn unpin(pin: &Path) -> Result<(), OffloadError> {
    match fs::remove_file(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(OffloadError::Directory {
            path: pin.to_owned(),
            source: error,
        }),
        _ => Ok(()),
    }
}

fn interface_name(ifindex: u32) -> Result<String, OffloadError> {
    let name = if_indextoname(ifindex).map_err(|_| OffloadError::NoInterface(ifindex))?;
    name.into_string()
        .map_err(|_| OffloadError::NoInterface(ifindex))
}
