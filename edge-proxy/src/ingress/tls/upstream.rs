//! What we trust in upstreams that are HTTPS proxies.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tollgate_domain::refusal::{Code, Refusal};

use super::{ALPN, TlsError, certificates, provider};

/// Trusts the authorities of this system, and those of `authorities`, PEM files for gateways with
/// a private one. Blocks while it reads files: to be made once, and shared by all upstreams.
///
/// # Errors
/// What is wrong with which file; also if nothing at all would be trusted. Authorities of the
/// system that cannot be read are left out with a line in the log.
pub(crate) fn client_config(authorities: &[PathBuf]) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for e in &system.errors {
        tracing::warn!(error = %e, "certificate authorities of the system left out");
    }
    // Systems carry some that nobody can parse; they trust nothing that we could reach.
    roots.add_parsable_certificates(system.certs);
    for path in authorities {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|source| TlsError::Authority { path: path.clone(), source })?;
        }
    }
    if roots.is_empty() {
        let why: Vec<_> = system.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoAuthorities(why.join("; ")));
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unsupported)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// The name that an upstream's certificate must be for: its host, a name or an address literal
/// without brackets.
///
/// # Errors
/// `UPSTREAM_CONNECT` if it is neither.
pub(crate) fn server_name(host: &str) -> Result<ServerName<'static>, Refusal> {
    let host = host.strip_suffix('.').unwrap_or(host);
    ServerName::try_from(host.to_owned()).map_err(|_| {
        Refusal::new(Code::UpstreamConnect, "the gateway's host is not a name that a certificate can have")
    })
}
