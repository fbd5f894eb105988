//! A clock to move, and the smallest HTTP client that shows every byte.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tollgate_domain::time::{Clock, Timestamp};
use tollgate_sandbox::{Sandbox, SandboxConfig};

pub(crate) const KEY: &str = "the-key";
pub(crate) const PASSWORD: &str = "zone-password";
/// 2026-11-23T12:00:00Z
pub(crate) const START: u64 = 1_795_435_200_000;
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

pub(crate) struct TestClock(AtomicU64);

impl TestClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) struct World {
    pub(crate) clock: Arc<TestClock>,
    pub(crate) sandbox: Sandbox,
}

pub(crate) fn config() -> (Arc<TestClock>, SandboxConfig) {
    let clock = Arc::new(TestClock(AtomicU64::new(START)));
    let config = SandboxConfig::new(clock.clone(), KEY.into(), PASSWORD.into()).with_stock("nl", 5).with_stock("de", 2);
    (clock, config)
}

pub(crate) async fn world() -> World {
    let (clock, config) = config();
    World { clock, sandbox: Sandbox::start(config).await.unwrap() }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn ips(&self, field: &str) -> Vec<Ipv4Addr> {
        serde_json::from_value(self.json()[field].clone()).unwrap()
    }

    pub(crate) fn parse(raw: &[u8]) -> Self {
        let end = raw.windows(4).position(|w| w == b"\r\n\r\n").expect("a whole head");
        let head = std::str::from_utf8(&raw[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let pair = |l: &str| l.split_once(": ").map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned())).unwrap();
        Self { status, headers: lines.map(pair).collect(), body: raw[end + 4..].to_vec() }
    }
}

/// Everything the server says until it closes.
pub(crate) async fn exchange(addr: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut raw = Vec::new();
    // A reset after the last byte is an end, too.
    let _ = stream.read_to_end(&mut raw).await;
    raw
}

pub(crate) fn api_request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

impl World {
    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        Answer::parse(&exchange(self.sandbox.api_addr(), &api_request(method, path, body)).await)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "").await
    }

    pub(crate) async fn buy(&self, country: &str, count: u32) -> Answer {
        self.call("POST", "/zone/ips", &buy_body(country, count)).await
    }

    /// Buys one address; it must work.
    pub(crate) async fn bought(&self, country: &str) -> Ipv4Addr {
        let answer = self.buy(country, 1).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        *answer.ips("new_ips").last().unwrap()
    }

    pub(crate) async fn release(&self, ip: Ipv4Addr) -> Answer {
        self.call("DELETE", "/zone/ips", &format!(r#"{{"zone":"isp_sandbox","ips":["{ip}"]}}"#)).await
    }

    pub(crate) async fn listed(&self) -> Vec<Ipv4Addr> {
        let answer = self.get("/zone/ips?zone=isp_sandbox").await.json();
        answer["ips"].as_array().unwrap().iter().map(|r| r["ip"].as_str().unwrap().parse().unwrap()).collect()
    }

    pub(crate) fn user(&self, flags: &str) -> String {
        format!("brd-customer-c_sandbox-zone-isp_sandbox{flags}")
    }

    /// A header line with the zone's password.
    pub(crate) fn auth(&self, flags: &str) -> String {
        basic(&self.user(flags), PASSWORD)
    }

    /// The super-proxy's whole answer to `request`.
    pub(crate) async fn proxied(&self, request: &str) -> Answer {
        Answer::parse(&exchange(self.sandbox.gateway_addr(), request.as_bytes()).await)
    }

    /// An open tunnel and the answer to its CONNECT.
    pub(crate) async fn tunnel(&self, target: &str, flags: &str) -> (TcpStream, Answer) {
        let mut stream = TcpStream::connect(self.sandbox.gateway_addr()).await.unwrap();
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n", self.auth(flags));
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = head(&mut stream).await;
        (stream, Answer::parse(&head))
    }
}

pub(crate) fn buy_body(country: &str, count: u32) -> String {
    format!(r#"{{"customer":"c_sandbox","zone":"isp_sandbox","count":{count},"country":"{country}"}}"#)
}

pub(crate) fn basic(user: &str, password: &str) -> String {
    let value = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Proxy-Authorization: Basic {value}\r\n")
}

/// Reads up to the empty line and not a byte further.
pub(crate) async fn head(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    head
}
