//! Versions of the CNI specification: membership is exact, there are no ranges.

use crate::error::{CniError, Code};

/// A version we answer in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// Every IP has a `version`.
    V0_3_1,
    /// With CHECK.
    V0_4_0,
    /// IPs without `version`.
    V1_0_0,
    /// With GC and STATUS.
    V1_1_0,
}

impl Version {
    pub(crate) const ALL: [Version; 4] = [
        Version::V0_3_1,
        Version::V0_4_0,
        Version::V1_0_0,
        Version::V1_1_0,
    ];
    pub(crate) const LATEST: Version = Version::V1_1_0;
    /// What a config without a version means.
    const UNSAID: &'static str = "0.2.0";

    pub(crate) fn name(self) -> &'static str {
        match self {
            Version::V0_3_1 => "0.3.1",
            Version::V0_4_0 => "0.4.0",
            Version::V1_0_0 => "1.0.0",
            Version::V1_1_0 => "1.1.0",
        }
    }

    /// The version of a config.
    pub(crate) fn parse(text: Option<&str>) -> Result<Version, CniError> {
        let text = text.filter(|it| !it.is_empty()).unwrap_or(Version::UNSAID);
        let found = Version::ALL.into_iter().find(|it| it.name() == text);
        found.ok_or_else(|| {
            let ours = Version::ALL.map(Version::name).join(", ");
            CniError::new(Code::IncompatibleVersion, "incompatible CNI versions").with_details(
                format!("cniVersion of the config is {text}, this plugin supports {ours}"),
            )
        })
    }

    /// The first version that knows an operation; `None` for one that all know.
    pub(crate) fn needs(self, first: Version, operation: &str) -> Result<(), CniError> {
        if self >= first {
            return Ok(());
        }
        Err(
            CniError::new(Code::IncompatibleVersion, "incompatible CNI versions").with_details(
                format!(
                    "cniVersion of the config is {}, {operation} needs {} or later",
                    self.name(),
                    first.name()
                ),
            ),
        )
    }

    /// What VERSION prints.
    pub(crate) fn report(asked: Option<&str>) -> String {
        let of_config = Version::parse(asked).unwrap_or(Version::LATEST);
        let report = serde_json::json!({
            "cniVersion": of_config.name(),
            "supportedVersions": Version::ALL.map(Version::name),
        });
        report.to_string()
    }
}
