//! `vrouterctl drops`.

use clap::Args;
use vrouter_control::model::DropSample;

#[derive(Debug, Clone, Args)]
pub(crate) struct DropsArgs {
    /// Go on with those to come
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only those of this reason, such as policy-denied
    #[arg(long, value_name = "REASON")]
    pub(crate) reason: Option<String>,
    /// Only those that came in by this interface
    #[arg(long, value_name = "NAME")]
    pub(crate) interface: Option<String>,
}

impl DropsArgs {
    pub(crate) fn matches(&self, sample: &DropSample) -> bool {
        let wanted = |filter: &Option<String>, value: &String| {
            filter.as_ref().is_none_or(|filter| filter == value)
        };
        wanted(&self.reason, &sample.reason) && wanted(&self.interface, &sample.interface)
    }
}
