//! Certificates, and TLS on the tests' side of a connection.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tollgate_edge::config::TlsFiles;

const HOST: &str = "edge.test";

/// A certificate for `edge.test` and 127.0.0.1, its own authority, in two files.
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
    der: CertificateDer<'static>,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

impl Identity {
    /// Makes one, in files named after it; who had them before is forgotten.
    pub fn write(folder: &Path, name: &str) -> Self {
        let names = [HOST.to_owned(), "127.0.0.1".to_owned()];
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        let (certificate, key) = (folder.join(format!("{name}.cert.pem")), folder.join(format!("{name}.key.pem")));
        std::fs::write(&certificate, cert.pem()).unwrap();
        std::fs::write(&key, signing_key.serialize_pem()).unwrap();
        Self { certificate, key, der: cert.der().clone() }
    }

    pub fn files(&self) -> TlsFiles {
        TlsFiles { certificate: self.certificate.clone(), key: self.key.clone() }
    }

    /// The server's side.
    pub fn acceptor(&self) -> TlsAcceptor {
        let key = PrivateKeyDer::from_pem_file(&self.key).unwrap();
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// A handshake over `stream` that trusts this certificate and no other.
    pub async fn trusting(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(HOST).unwrap(), stream).await
    }
}
