//! What a process leaves on the node when it ends, removed.

use vrouter_io::link::{Link, PROTOCOL};
use vrouter_io::sysctl::Changed;

use crate::settings::Settings;
use crate::veths;

/// Removes pods' veths, programs, maps and routes, and puts sysctls back; what that was, in words.
///
/// # Errors
/// The kernel refuses a step.
pub fn detach(settings: &Settings) -> Result<String, String> {
    let text = |error: vrouter_io::Error| error.to_string();
    let veths = veths::remove_all(&settings.bpf_directory)?;
    let link = Link::open().map_err(text)?;
    let routes = link.routes(Some(PROTOCOL)).map_err(text)?;
    for route in &routes {
        link.remove_route(route).map_err(text)?;
    }
    Changed::recorded(&settings.sysctl_record)
        .restore()
        .map_err(text)?;
    Ok(format!("removed: {veths} veths, {} routes", routes.len()))
}
