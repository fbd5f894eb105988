//! Requests to a proxy, byte by byte, for what no client library would send.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Nothing on one machine takes longer; only a hang does.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a proxy.
pub struct RawProxy {
    stream: TcpStream,
}

/// An answer's head, as it came, and what of the body came with the connection's end or length.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The head, in lower case.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}:");
        self.head.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::trim)
    }
}

impl RawProxy {
    /// Connects.
    ///
    /// # Panics
    /// If nothing listens there.
    #[must_use]
    pub fn connect(gateway: &str) -> Self {
        let stream = TcpStream::connect(gateway).expect("the gateway listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { stream }
    }

    /// Sends bytes; a proxy that has stopped reading is no failure here.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Reads one answer: head, and as much body as its length says.
    ///
    /// # Panics
    /// If none comes.
    pub fn answer(&mut self) -> Answer {
        let mut read = Vec::new();
        let end = loop {
            if let Some(at) = read.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            let n = self.read(&mut read);
            assert!(n > 0, "the connection ended in a head: {}", String::from_utf8_lossy(&read));
        };
        let mut body = read.split_off(end);
        let head = String::from_utf8_lossy(&read).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("no status: {head}"));
        let mut answer = Answer { status, head, body: Vec::new() };
        let length = answer.header("content-length").and_then(|v| v.parse::<usize>().ok()).unwrap_or(0);
        while body.len() < length {
            assert!(self.read(&mut body) > 0, "the connection ended in a body");
        }
        answer.body = body;
        answer
    }

    /// Everything until the other side closes the connection.
    ///
    /// # Panics
    /// If it does not close it.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        while self.read(&mut rest) > 0 {}
        rest
    }

    fn read(&mut self, into: &mut Vec<u8>) -> usize {
        let mut chunk = [0; 16 << 10];
        let n = self.stream.read(&mut chunk).expect("the proxy answers in time");
        into.extend_from_slice(&chunk[..n]);
        n
    }

    /// Whether the other side closes the connection within `time`, sending nothing more.
    #[must_use]
    pub fn closes_within(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).expect("a timeout");
        match self.stream.read(&mut [0; 1]) {
            Ok(n) => n == 0,
            Err(e) => !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

/// The value of `Proxy-Authorization` for a user and a password.
#[must_use]
pub fn basic(user: &str, password: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::from("Basic ");
    for chunk in format!("{user}:{password}").as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0_u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for n in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * n)) as usize & 63];
            out.push(if n <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}
