//! STATUS: whether an ADD would work.

use crate::add::expect_node;
use crate::call::{Call, Operation};
use crate::config::{Config, IpamKind};
use crate::daemon::Daemon;
use crate::error::{CniError, Code};
use crate::log::Log;
use crate::{delegate, ipam, store};

fn not_available(error: &CniError) -> CniError {
    CniError::new(Code::NotAvailable, "an ADD would fail").with_details(error.to_string())
}

/// Tries all that an ADD needs and changes nothing.
pub(crate) fn status(call: &Call, config: &Config, log: &mut Log) -> Result<(), CniError> {
    config.accept().map_err(|error| not_available(&error))?;
    let daemon = Daemon::new(&config.control_socket);
    daemon.version(std::time::Duration::ZERO).map_err(|error| {
        let message = "an ADD would fail, and containers have no connectivity";
        CniError::new(Code::LimitedConnectivity, message).with_details(error.to_string())
    })?;
    let ready = || {
        expect_node(config, &daemon)?;
        let store = store::open(config)?;
        store::expect_ready(&*store)?;
        match &config.ipam {
            Some(IpamKind::Own) => ipam::expect_free(config, &store),
            Some(IpamKind::Delegated(_)) | None => Ok(()),
        }
    };
    ready().map_err(|error| not_available(&error))?;
    if let Some(IpamKind::Delegated(plugin)) = &config.ipam {
        delegate::run(plugin, Operation::Status, call, config, log)?;
    }
    Ok(())
}
