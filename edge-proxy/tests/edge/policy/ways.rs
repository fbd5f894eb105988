//! The ways in: a request for a host over each of them, and what is answered.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tollgate_domain::refusal::Code;

use super::PATIENCE;
use crate::support::socks::{self, CONNECT};
use crate::support::vectors::address;
use crate::support::world::PASSWORD;
use crate::support::{basic, connect_from, read_head, read_n, status};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    Connect,
    Absolute,
    Upgrade,
    /// With addresses in their own form; names are for the next.
    Socks,
    /// Whatever is asked for as a name.
    SocksName,
}

pub const PATHS: [Path; 5] = [Path::Connect, Path::Absolute, Path::Upgrade, Path::Socks, Path::SocksName];

/// Where, from which address, and whether with a password.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    pub at: SocketAddr,
    pub source: [u8; 4],
    pub password: bool,
}

/// The answer: over HTTP the code, none where it passed; over SOCKS5 the reply.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    Code(Option<Code>),
    Reply(u8),
}

/// A request of SOCKS5 with this text in the form of a name.
pub fn named(prefix: &[u8], host: &str, port: u16) -> Vec<u8> {
    [prefix, &[3, u8::try_from(host.len()).unwrap()], host.as_bytes(), &port.to_be_bytes()].concat()
}

/// Asks once; `None` if there is no such host on this path.
pub async fn ask(door: Door, path: Path, host: &str, port: u16) -> Option<Said> {
    let asked = match path {
        Path::Socks => socks::request(CONNECT, &address(host)?.to_string(), port),
        Path::SocksName => named(&[5, CONNECT, 0], host, port),
        Path::Connect | Path::Absolute | Path::Upgrade => {
            let first = match path {
                Path::Connect => format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: x\r\n"),
                _ => format!("GET http://{host}:{port}/x HTTP/1.1\r\nHost: x\r\n"),
            };
            let more = if path == Path::Upgrade { "Connection: Upgrade\r\nUpgrade: raw\r\n" } else { "" };
            let auth = format!("Proxy-Authorization: {}\r\n", basic("demo", PASSWORD));
            let auth = if door.password { auth.as_str() } else { "" };
            format!("{first}{more}{auth}\r\n").into_bytes()
        }
    };
    let mut c = connect_from(door.source, door.at).await;
    Some(timeout(PATIENCE, say(&mut c, door, path, &asked)).await.expect("no answer"))
}

pub async fn say(c: &mut TcpStream, door: Door, path: Path, asked: &[u8]) -> Said {
    if matches!(path, Path::Socks | Path::SocksName) {
        if door.password {
            socks::enter(c, "demo", PASSWORD).await;
        } else {
            c.write_all(&[5, 1, 0]).await.unwrap();
            assert_eq!(read_n(c, 2).await, [5, 0]);
        }
        c.write_all(asked).await.unwrap();
        return Said::Reply(read_n(c, 10).await[1]);
    }
    c.write_all(asked).await.unwrap();
    let head = read_head(c).await;
    let code = head.lines().find_map(|l| l.strip_prefix("X-Tollgate-Error: "));
    let code = code.map(|c| Code::parse(c).unwrap_or_else(|| panic!("{head}")));
    assert_eq!(status(&head), code.map_or(200, Code::status), "{head}");
    Said::Code(code)
}

/// Asks, and compares; whether there is such a host on this path.
pub async fn expect(door: Door, path: Path, host: &str, port: u16, code: Option<Code>) -> bool {
    let due = match path {
        Path::Socks | Path::SocksName => Said::Reply(code.map_or(0, Code::socks_reply)),
        Path::Connect | Path::Absolute | Path::Upgrade => Said::Code(code),
    };
    let Some(said) = ask(door, path, host, port).await else { return false };
    assert_eq!(said, due, "{path:?} {host:?}:{port} through {door:?}");
    true
}

/// Asks for all of `hosts` over every path through each door; how often each code was due.
pub async fn expect_all(doors: &[Door], hosts: &[(String, u16, Code)]) -> BTreeMap<Code, u64> {
    let mut due = BTreeMap::new();
    for door in doors {
        for path in PATHS {
            for (host, port, code) in hosts {
                let asked = expect(*door, path, host, *port, Some(*code)).await;
                *due.entry(*code).or_default() += u64::from(asked);
            }
        }
    }
    due
}
