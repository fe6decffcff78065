//! Which servers there are to be, parsed from settings.

use std::path::PathBuf;

use vrouter_api::{ClientAuth, Observability};

const METRICS_PORT: i64 = 9091;
const HEALTH_PORT: i64 = 9099;

/// Where a server listens, and whom it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listen {
    /// Empty: all addresses.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Option<TlsFiles>,
}

/// PEM files of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) clients: Clients,
}

/// Which certificates clients need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Clients {
    /// None.
    Anybody,
    /// Those that show one need one that the authority signed.
    IfGiven(PathBuf),
    /// One that the authority signed.
    Verified(PathBuf),
}

fn port(key: &str, value: Option<i64>, default: i64) -> Result<u16, String> {
    let value = value.unwrap_or(default);
    let port = u16::try_from(value).ok().filter(|port| *port != 0);
    port.ok_or_else(|| format!("{key}: {value}: must be 1–65535"))
}

/// The server of metrics, if there is to be one.
pub(crate) fn metrics(settings: &Observability) -> Result<Option<Listen>, String> {
    if settings.prometheus_metrics_enabled != Some(true) {
        return Ok(None);
    }
    Ok(Some(Listen {
        host: settings.prometheus_metrics_host.clone().unwrap_or_default(),
        port: port(
            "prometheusMetricsPort",
            settings.prometheus_metrics_port,
            METRICS_PORT,
        )?,
        tls: tls(settings)?,
    }))
}

/// The server of health, if there is to be one.
pub(crate) fn health(settings: &Observability) -> Result<Option<Listen>, String> {
    if settings.health_enabled != Some(true) {
        return Ok(None);
    }
    Ok(Some(Listen {
        host: settings
            .health_host
            .clone()
            .unwrap_or_else(|| "localhost".to_owned()),
        port: port("healthPort", settings.health_port, HEALTH_PORT)?,
        tls: None,
    }))
}

fn tls(settings: &Observability) -> Result<Option<TlsFiles>, String> {
    let auth = settings.prometheus_metrics_client_auth.unwrap_or_default();
    let files = (
        &settings.prometheus_metrics_cert_file,
        &settings.prometheus_metrics_key_file,
    );
    let (certificate, key) = match files {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        (None, None) if auth == ClientAuth::None => return Ok(None),
        (None, None) => {
            return Err(
                "prometheusMetricsClientAuth needs TLS: set prometheusMetricsCertFile \
                 and prometheusMetricsKeyFile"
                    .into(),
            );
        }
        (Some(_), None) | (None, Some(_)) => {
            return Err(
                "TLS needs both prometheusMetricsCertFile and prometheusMetricsKeyFile".into(),
            );
        }
    };
    let authority = || {
        let file = settings.prometheus_metrics_ca_file.clone();
        file.ok_or("prometheusMetricsClientAuth needs prometheusMetricsCAFile")
    };
    let clients = match auth {
        ClientAuth::None => Clients::Anybody,
        ClientAuth::IfGiven => Clients::IfGiven(authority()?),
        ClientAuth::Verified => Clients::Verified(authority()?),
        ClientAuth::Any => {
            return Err(
                "prometheusMetricsClientAuth: RequireAnyClientCert: a certificate that nobody \
                 verifies protects nothing; use RequireAndVerifyClientCert"
                    .into(),
            );
        }
    };
    Ok(Some(TlsFiles {
        certificate,
        key,
        clients,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_calicos_and_contradictions_are_refused() {
        let mut settings = Observability::default();
        assert_eq!(
            (metrics(&settings), health(&settings)),
            (Ok(None), Ok(None))
        );
        settings.prometheus_metrics_enabled = Some(true);
        settings.health_enabled = Some(true);
        let listen = |host: &str, port| {
            Ok(Some(Listen {
                host: host.into(),
                port,
                tls: None,
            }))
        };
        assert_eq!(metrics(&settings), listen("", 9091));
        assert_eq!(health(&settings), listen("localhost", 9099));
        settings.health_port = Some(70_000);
        let refused = health(&settings).unwrap_err();
        assert!(refused.contains("healthPort: 70000"), "{refused}");

        settings.prometheus_metrics_cert_file = Some("c".into());
        let refused = metrics(&settings).unwrap_err();
        assert!(refused.contains("prometheusMetricsKeyFile"), "{refused}");
        settings.prometheus_metrics_key_file = Some("k".into());
        let tls = metrics(&settings).unwrap().unwrap().tls.unwrap();
        assert_eq!(tls.clients, Clients::Anybody);
        settings.prometheus_metrics_client_auth = Some(ClientAuth::Verified);
        let refused = metrics(&settings).unwrap_err();
        assert!(refused.contains("prometheusMetricsCAFile"), "{refused}");
        settings.prometheus_metrics_ca_file = Some("a".into());
        let tls = metrics(&settings).unwrap().unwrap().tls.unwrap();
        assert_eq!(tls.clients, Clients::Verified("a".into()));
        settings.prometheus_metrics_client_auth = Some(ClientAuth::Any);
        let refused = metrics(&settings).unwrap_err();
        assert!(refused.contains("RequireAnyClientCert"), "{refused}");
    }
}
