//! Whom to trust.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::error::{Error, ErrorKind, Result};
use super::reached::Stamp;

/// Trust in what the system trusts. Reads its certificates: blocking.
pub(super) fn system() -> Result<ClientConfig> {
    Ok(builder()?.with_root_certificates(system_roots()).with_no_client_auth())
}

/// No trust in anybody, for connections that do not use TLS.
pub(super) fn none() -> Result<ClientConfig> {
    Ok(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// What the host says about a registry in the first of `directories` that has one for it: `*.crt`
/// are authorities to trust beside the system's, `*.cert` and `*.key` what the host shows of itself.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    directory: Option<PathBuf>,
    files: Vec<PathBuf>,
}

impl Certificates {
    /// Looks for those of `registry`. Reads directories: blocking.
    pub(super) fn find(directories: &[PathBuf], registry: &str) -> Result<Self> {
        let directory = directories.iter().map(|it| it.join(registry)).find(|it| it.is_dir());
        let files = directory.as_deref().map_or_else(|| Ok(Vec::new()), files)?;
        Ok(Self { directory, files })
    }

    /// Their state; `None` if there are none. Blocking.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        self.directory.as_deref().map(|directory| Stamp::of(directory, &self.files))
    }
}

/// Trust in what the system trusts and `certificates` say. Without `verify`, everybody is trusted.
/// Reads files: blocking.
pub(super) fn for_registry(certificates: &Certificates, verify: bool) -> Result<ClientConfig> {
    let files = &certificates.files;
    let builder = if verify {
        let mut roots = system_roots();
        for file in files.iter().filter(|file| has_extension(file, "crt")) {
            roots.add_parsable_certificates(self::certificates(file)?);
        }
        builder()?.with_root_certificates(roots)
    } else {
        let anybody = Arc::new(Anybody(ring::default_provider()));
        builder()?.dangerous().with_custom_certificate_verifier(anybody)
    };
    let missing = |what: &str, file: &Path| {
        let file = file.file_name().unwrap_or_default().to_string_lossy();
        unusable(&file, &format!("there is no {what} beside it"))
    };
    if let Some(key) = files.iter().find(|file| has_extension(file, "key"))
        && !files.contains(&key.with_extension("cert"))
    {
        return Err(missing("client certificate (*.cert)", key));
    }
    let Some(cert) = files.iter().find(|file| has_extension(file, "cert")) else {
        return Ok(builder.with_no_client_auth());
    };
    let key = cert.with_extension("key");
    if !files.contains(&key) {
        return Err(missing("key (*.key)", cert));
    }
    let unreadable = |error: &dyn fmt::Display| unusable(&cert.display(), &error);
    let secret = PrivateKeyDer::from_pem_file(&key).map_err(|error| unread_pem(&key, &error))?;
    let builder = builder.with_client_auth_cert(self::certificates(cert)?, secret);
    builder.map_err(|error| unreadable(&error))
}

/// Certificates that cannot be read are left out; those of one server rarely need all of them.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a certificate of the system");
    }
    roots.add_parsable_certificates(found.certs);
    roots
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Network, format!("tls: {error}")))
}

/// The files of a directory, sorted.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>());
    let mut files = entries.map_err(|error| unread(directory, &error, Some(&error)))?;
    files.sort();
    Ok(files)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| unread_pem(file, &error))
}

fn unusable(file: &dyn fmt::Display, reason: &dyn fmt::Display) -> Error {
    unusable_as(ErrorKind::BadRequest, file, reason)
}

fn unusable_as(kind: ErrorKind, file: &dyn fmt::Display, reason: &dyn fmt::Display) -> Error {
    Error::new(kind, format!("certificates of the registry: {file}: {reason}"))
}

fn unread(file: &Path, reason: &dyn fmt::Display, system: Option<&io::Error>) -> Error {
    let usual = ErrorKind::BadRequest;
    let kind = system.map_or(usual, |error| ErrorKind::of_reading(error, usual));
    unusable_as(kind, &file.display(), reason)
}

fn unread_pem(file: &Path, error: &pem::Error) -> Error {
    let system = if let pem::Error::Io(error) = error { Some(error) } else { None };
    unread(file, error, system)
}

fn has_extension(file: &Path, extension: &str) -> bool {
    file.extension().is_some_and(|it| it == extension)
}

/// Trusts every certificate, as long as its owner is at the other end.
#[derive(Debug)]
struct Anybody(CryptoProvider);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
