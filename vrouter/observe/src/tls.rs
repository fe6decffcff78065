//! TLS of the metrics' server.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::settings::{Clients, TlsFiles};

/// What shakes hands with clients, by files that are read now.
pub(crate) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &files.clients {
        Clients::Anybody => builder.with_no_client_auth(),
        Clients::IfGiven(file) => builder.with_client_cert_verifier(verifier(file, true)?),
        Clients::Verified(file) => builder.with_client_cert_verifier(verifier(file, false)?),
    };
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(fault(&files.key))?;
    let config = builder
        .with_single_cert(certificates(&files.certificate)?, key)
        .map_err(fault(&files.certificate))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn verifier(file: &Path, optional: bool) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(fault(file))?;
    }
    let provider = Arc::new(ring::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if optional {
        builder.allow_unauthenticated()
    } else {
        builder
    };
    builder.build().map_err(fault(file))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_file_iter(file).map_err(fault(file))?;
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(fault(file))?;
    if all.is_empty() {
        return Err(format!("{}: there is no certificate in it", file.display()));
    }
    Ok(all)
}

fn fault<E: std::fmt::Display>(file: &Path) -> impl Fn(E) -> String {
    move |error| format!("{}: {error}", file.display())
}
