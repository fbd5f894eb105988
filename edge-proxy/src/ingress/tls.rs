//! TLS: our certificate towards clients, which reloads, and what we trust in upstreams.

mod upstream;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

pub(crate) use upstream::{client_config, server_name};

/// What is spoken inside: a client that offers only others is refused in the handshake. One that
/// offers nothing may speak anything, SOCKS5 as well.
const ALPN: &[u8] = b"http/1.1";

/// Why certificates or keys cannot be used; names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read, or is not PEM.
    #[error("{}: {source}", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: pem::Error,
    },
    /// The file is PEM, and not one section of it is a certificate.
    #[error("{}: there is no certificate in it", .0.display())]
    NoCertificate(PathBuf),
    /// The key is of a kind we do not know, or belongs to another certificate.
    #[error("{} and {} do not go together: {source}", .certificate.display(), .key.display())]
    Mismatch {
        /// The file of the chain.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
    /// A certificate that cannot be trusted in, because it is malformed.
    #[error("{}: not a certificate of an authority: {source}", .path.display())]
    Authority {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
    /// Nothing is trusted: every handshake with an upstream would fail.
    #[error("no certificate authorities: neither in files that are configured nor on this system ({0})")]
    NoAuthorities(String),
    /// The library does not support what we ask of it.
    #[error("TLS: {0}")]
    Unsupported(#[source] rustls::Error),
}

/// Who we are towards clients: a certificate chain and its key, from PEM files.
#[derive(Debug)]
pub(crate) struct TlsIdentity {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<ServerConfig>>,
}

impl TlsIdentity {
    /// Reads both files.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn load(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self, TlsError> {
        let (certificate, key) = (certificate.into(), key.into());
        let current = RwLock::new(Arc::new(server_config(&certificate, &key)?));
        Ok(Self { certificate, key, current })
    }

    /// Reads both files again. New handshakes see the new certificate; connections go on as they
    /// are, and handshakes under way end as they began.
    ///
    /// # Errors
    /// What is wrong with which file; the certificate in use stays, and the log says so.
    pub fn reload(&self) -> Result<(), TlsError> {
        match server_config(&self.certificate, &self.key) {
            Ok(config) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                tracing::info!(certificate = %self.certificate.display(), "certificate reloaded");
                Ok(())
            }
            Err(e) => {
                tracing::error!(error = %e, "certificate not reloaded: the one in use stays");
                Err(e)
            }
        }
    }

    /// What the next handshake uses, also with `tokio_rustls::LazyConfigAcceptor`.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// An acceptor for the next handshake; not to be kept, or it misses a reload.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn server_config(certificate: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let chain = certificates(certificate)?;
    let secret =
        PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Unreadable { path: key.to_owned(), source })?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unsupported)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|source| TlsError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned(), source })?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// Every certificate of a file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { path: path.to_owned(), source };
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect::<Result<_, _>>().map_err(unreadable)?;
    if found.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(found) }
}
