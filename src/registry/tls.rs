//! Whom to trust.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::error::{Error, ErrorKind, Result};

/// Trust in what the system trusts. Reads its certificates: blocking.
///
/// Certificates that cannot be read are left out; those of one server rarely need all of them.
pub(super) fn system() -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a certificate of the system");
    }
    roots.add_parsable_certificates(found.certs);
    config(roots)
}

/// No trust in anybody, for connections that do not use TLS.
pub(super) fn none() -> Result<ClientConfig> {
    config(RootCertStore::empty())
}

fn config(roots: RootCertStore) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Network, format!("tls: {error}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
