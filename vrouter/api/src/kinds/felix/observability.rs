//! What a node serves to those who watch it: metrics and health.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::values::{duration, go_duration};
use crate::place::{Fields, Place};

/// Settings of metrics and health; absent means that a lower layer, then the default, decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Observability {
    /// Whether metrics are served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus_metrics_enabled: Option<bool>,
    /// The address they are served at; empty: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus_metrics_host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus_metrics_port: Option<i64>,
    /// The server's certificate (PEM); with the key: TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus_metrics_cert_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus_metrics_key_file: Option<PathBuf>,
    /// The authority that signs clients' certificates (PEM).
    #[serde(
        rename = "prometheusMetricsCAFile",
        skip_serializing_if = "Option::is_none"
    )]
    pub prometheus_metrics_ca_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus_metrics_client_auth: Option<ClientAuth>,
    /// Whether liveness and readiness are served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_port: Option<i64>,
    /// Timeouts of components, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_timeout_overrides: Option<Vec<HealthTimeout>>,
    /// How long the agent may be silent.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "go_duration"
    )]
    pub dataplane_watchdog_timeout: Option<Duration>,
}

/// The timeout of one component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthTimeout {
    pub name: String,
    #[serde(serialize_with = "whole")]
    pub timeout: Duration,
}

fn whole<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
    go_duration(&Some(*value), to)
}

/// Which certificates clients of the metrics need; Go's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub enum ClientAuth {
    #[default]
    #[serde(rename = "NoClientCert")]
    None,
    #[serde(rename = "VerifyClientCertIfGiven")]
    IfGiven,
    #[serde(rename = "RequireAnyClientCert")]
    Any,
    #[serde(rename = "RequireAndVerifyClientCert")]
    Verified,
}

impl ClientAuth {
    /// Every value by its name.
    pub const NAMES: [(&'static str, ClientAuth); 4] = [
        ("NoClientCert", ClientAuth::None),
        ("VerifyClientCertIfGiven", ClientAuth::IfGiven),
        ("RequireAnyClientCert", ClientAuth::Any),
        ("RequireAndVerifyClientCert", ClientAuth::Verified),
    ];
}

impl Observability {
    pub(super) fn read(fields: &Fields<'_>) -> Observability {
        let flag = |name| fields.optional(name).and_then(|place| place.boolean());
        let text = |name| fields.optional(name).and_then(|place| place.string());
        let file = |name| {
            text(name)
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        };
        let port = |name| {
            let place = fields.optional(name)?;
            // As in Calico: the server judges the number.
            place.integer(i64::MIN..=i64::MAX)
        };
        Observability {
            prometheus_metrics_enabled: flag("prometheusMetricsEnabled"),
            prometheus_metrics_host: text("prometheusMetricsHost"),
            prometheus_metrics_port: port("prometheusMetricsPort"),
            prometheus_metrics_cert_file: file("prometheusMetricsCertFile"),
            prometheus_metrics_key_file: file("prometheusMetricsKeyFile"),
            prometheus_metrics_ca_file: file("prometheusMetricsCAFile"),
            prometheus_metrics_client_auth: fields
                .optional("prometheusMetricsClientAuth")
                .and_then(|place| place.choice(&ClientAuth::NAMES)),
            health_enabled: flag("healthEnabled"),
            health_host: text("healthHost"),
            health_port: port("healthPort"),
            health_timeout_overrides: fields
                .optional("healthTimeoutOverrides")
                .map(|place| place.list(HealthTimeout::read)),
            dataplane_watchdog_timeout: fields
                .optional("dataplaneWatchdogTimeout")
                .and_then(|place| duration(&place)),
        }
    }

    /// These settings where given, those of `below` elsewhere.
    #[must_use]
    pub fn over(&self, below: &Observability) -> Observability {
        macro_rules! layer {
            ($($field:ident)*) => {
                Observability { $($field: self.$field.clone().or_else(|| below.$field.clone()),)* }
            };
        }
        layer! {
            prometheus_metrics_enabled prometheus_metrics_host prometheus_metrics_port
            prometheus_metrics_cert_file prometheus_metrics_key_file prometheus_metrics_ca_file
            prometheus_metrics_client_auth health_enabled health_host health_port
            health_timeout_overrides dataplane_watchdog_timeout
        }
    }
}

impl HealthTimeout {
    fn read(place: &Place<'_>) -> Option<HealthTimeout> {
        let fields = place.fields()?;
        let name = fields.string("name");
        let timeout = fields
            .required("timeout")
            .and_then(|place| duration(&place));
        fields.finish();
        Some(HealthTimeout {
            name: name?,
            timeout: timeout?,
        })
    }
}
