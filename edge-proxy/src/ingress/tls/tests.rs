use std::{fs, io};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};

use super::*;

const HOST: &str = "edge.test";

/// A folder with a certificate and its key.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        files.renew();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Writes a new certificate and key; the certificate.
    fn renew(&self) -> CertificateDer<'static> {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([HOST.to_owned(), "127.0.0.1".to_owned()]).unwrap();
        self.write("cert.pem", &cert.pem());
        self.write("key.pem", &signing_key.serialize_pem());
        cert.der().clone()
    }

    fn load(&self) -> Result<TlsIdentity, TlsError> {
        TlsIdentity::load(self.path("cert.pem"), self.path("key.pem"))
    }

    /// A client that trusts the certificate that is there now.
    fn trusting(&self) -> Arc<ClientConfig> {
        client_config(&[self.path("cert.pem")]).unwrap()
    }
}

/// What a client sees of a handshake.
#[derive(Debug)]
struct Seen {
    certificate: CertificateDer<'static>,
    alpn: Option<Vec<u8>>,
    version: ProtocolVersion,
}

/// A handshake in memory, and bytes both ways.
async fn handshake(identity: &TlsIdentity, client: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Seen> {
    let (ours, theirs) = duplex(1 << 14);
    let acceptor = identity.acceptor();
    let server = async move {
        let mut stream = acceptor.accept(ours).await?;
        let mut word = [0; 4];
        stream.read_exact(&mut word).await?;
        stream.write_all(&word).await?;
        stream.shutdown().await
    };
    let client = async move {
        let mut stream = TlsConnector::from(client).connect(name, theirs).await?;
        stream.write_all(b"ping").await?;
        stream.flush().await?;
        let mut back = Vec::new();
        stream.read_to_end(&mut back).await?;
        assert_eq!(back, b"ping");
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates().unwrap()[0].clone().into_owned();
        Ok::<_, io::Error>(Seen {
            certificate,
            alpn: session.alpn_protocol().map(<[u8]>::to_vec),
            version: session.protocol_version().unwrap(),
        })
    };
    let (served, seen) = tokio::join!(server, client);
    seen.and_then(|seen| served.map(|()| seen))
}

/// What the library says of a handshake that failed.
fn why(e: &io::Error) -> String {
    format!("{e:?}")
}

/// Authorities of the same name with another key make a bad signature, others an unknown issuer.
fn distrusted(e: &io::Error) -> bool {
    why(e).contains("BadSignature") || why(e).contains("UnknownIssuer")
}

fn name() -> ServerName<'static> {
    server_name(HOST).unwrap()
}

fn with(config: &ClientConfig, change: impl Fn(&mut ClientConfig)) -> Arc<ClientConfig> {
    let mut config = config.clone();
    change(&mut config);
    Arc::new(config)
}

#[tokio::test]
async fn a_client_that_trusts_us_speaks_http_1_over_tls() {
    let files = Files::new();
    let identity = files.load().unwrap();
    let seen = handshake(&identity, files.trusting(), name()).await.unwrap();
    assert_eq!((seen.alpn.as_deref(), seen.version), (Some(&b"http/1.1"[..]), ProtocolVersion::TLSv1_3));
    let by_address = handshake(&identity, files.trusting(), server_name("127.0.0.1").unwrap()).await.unwrap();
    assert_eq!(by_address.certificate, seen.certificate);
}

#[tokio::test]
async fn only_http_1_is_negotiated_and_nothing_may_be() {
    let files = Files::new();
    let identity = files.load().unwrap();
    let trusting = files.trusting();
    let both = with(&trusting, |c| c.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()]);
    assert_eq!(handshake(&identity, both, name()).await.unwrap().alpn.as_deref(), Some(&b"http/1.1"[..]));
    let none = with(&trusting, |c| c.alpn_protocols = Vec::new());
    assert_eq!(handshake(&identity, none, name()).await.unwrap().alpn, None);
    let other = with(&trusting, |c| c.alpn_protocols = vec![b"h2".to_vec()]);
    let refused = handshake(&identity, other, name()).await.unwrap_err();
    assert!(why(&refused).contains("NoApplicationProtocol"), "{refused:?}");
}

#[tokio::test]
async fn an_upstream_must_have_a_certificate_that_we_trust_for_its_name() {
    let (files, others) = (Files::new(), Files::new());
    let identity = files.load().unwrap();
    let unknown = handshake(&identity, others.trusting(), name()).await.unwrap_err();
    assert!(distrusted(&unknown), "{unknown:?}");
    let elsewhere = server_name("other.test").unwrap();
    let wrong = handshake(&identity, files.trusting(), elsewhere).await.unwrap_err();
    assert!(why(&wrong).contains("NotValidForName"), "{wrong:?}");
    for bad in ["", "a b", "a/b", "[::1]", &"a".repeat(300)] {
        assert_eq!(server_name(bad).unwrap_err().code.as_str(), "UPSTREAM_CONNECT", "{bad:?}");
    }
    assert!(server_name("::1").is_ok() && server_name("gateway.test.").is_ok());
}

#[tokio::test]
async fn a_reload_serves_the_new_certificate_to_new_handshakes() {
    let files = Files::new();
    let old = CertificateDer::from_pem_file(files.path("cert.pem")).unwrap();
    let identity = files.load().unwrap();
    let trusting_old = files.trusting();
    let before = handshake(&identity, Arc::clone(&trusting_old), name()).await.unwrap();
    assert_eq!(before.certificate, old);
    // A handshake that has begun ends with what it began with.
    let (ours, theirs) = duplex(1 << 14);
    let begun = identity.config();
    let client = tokio::spawn(TlsConnector::from(Arc::clone(&trusting_old)).connect(name(), theirs));
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), ours).await.unwrap();
    let new = files.renew();
    identity.reload().unwrap();
    let accepted = hello.into_stream(begun).await.unwrap();
    assert_eq!(accepted.get_ref().1.alpn_protocol(), Some(ALPN));
    let stream = client.await.unwrap().unwrap();
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], old);

    let after = handshake(&identity, files.trusting(), name()).await.unwrap();
    assert_eq!(after.certificate, new);
    assert_ne!(new, old);
    // Nor does a client that could resume a session see the old one.
    let again = handshake(&identity, trusting_old, name()).await.unwrap_err();
    assert!(distrusted(&again), "{again:?}");
}

#[tokio::test]
async fn a_bad_file_keeps_the_certificate_in_use_and_is_named() {
    let files = Files::new();
    let identity = files.load().unwrap();
    let trusting = files.trusting();
    let pair = |name: &str| fs::read_to_string(files.path(name)).unwrap();
    let (certificate, key) = (pair("cert.pem"), pair("key.pem"));
    let cut = &certificate[..certificate.len() / 2];
    let garbled = certificate.replacen("MII", "!!!", 1);
    let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let other = Files::new();
    let other_key = fs::read_to_string(other.path("key.pem")).unwrap();
    for (name, text) in [
        ("cert.pem", ""),
        ("cert.pem", cut),
        ("cert.pem", &garbled),
        ("cert.pem", no_der),
        ("cert.pem", &key),
        ("key.pem", ""),
        ("key.pem", &certificate),
        ("key.pem", no_key),
        ("key.pem", &other_key),
        ("key.pem", "\0\u{fffd}"),
    ] {
        files.write(name, text);
        let e = identity.reload().expect_err(&format!("{name}: {text}")).to_string();
        assert!(e.contains(files.path(name).to_str().unwrap()), "{e}");
        assert!(!e.contains("PRIVATE KEY-----\n"), "{e}");
        assert!(files.load().is_err());
        assert!(handshake(&identity, Arc::clone(&trusting), self::name()).await.is_ok(), "{name}: {text}");
        files.write("cert.pem", &certificate);
        files.write("key.pem", &key);
    }
    for name in ["cert.pem", "key.pem"] {
        fs::rename(files.path(name), files.path("away")).unwrap();
        let e = identity.reload().expect_err(name).to_string();
        assert!(e.contains(files.path(name).to_str().unwrap()), "{e}");
        assert!(handshake(&identity, Arc::clone(&trusting), self::name()).await.is_ok());
        fs::rename(files.path("away"), files.path(name)).unwrap();
    }
    identity.reload().unwrap();
}

#[test]
fn files_of_authorities_are_named_when_they_are_bad() {
    let files = Files::new();
    let both = fs::read_to_string(files.path("cert.pem")).unwrap().repeat(2);
    assert!(client_config(&[files.write("two.pem", &both)]).is_ok());
    for bad in [
        files.path("missing.pem"),
        files.write("empty.pem", ""),
        files.write("der.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        files.path("key.pem"),
    ] {
        let e = client_config(&[files.path("cert.pem"), bad.clone()]).unwrap_err().to_string();
        assert!(e.contains(bad.to_str().unwrap()), "{e}");
    }
}
