//! Datagrams of an association.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tollgate_domain::refusal::Code;

use super::ways::named;
use super::{HERE, PATIENCE};
use crate::support::connect_from;
use crate::support::socks::{self, UDP_ASSOCIATE, bound};
use crate::support::vectors::address;
use crate::support::world::PASSWORD;

/// An association and its client's socket.
pub struct Datagrams {
    _control: TcpStream,
    me: UdpSocket,
    relay: SocketAddr,
}

impl Datagrams {
    pub async fn start(at: SocketAddr) -> Self {
        let mut control = connect_from(HERE, at).await;
        let asked = socks::request(UDP_ASSOCIATE, "0.0.0.0", 0);
        let reply = socks::ask(&mut control, ("demo", PASSWORD), &asked).await;
        let me = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        Self { _control: control, me, relay: bound(&reply) }
    }

    pub async fn send(&self, datagram: &[u8]) {
        self.me.send_to(datagram, self.relay).await.unwrap();
    }

    pub async fn receive(&self) -> Vec<u8> {
        let mut buf = vec![0; 2048];
        let (n, _) = timeout(PATIENCE, self.me.recv_from(&mut buf)).await.expect("no datagram came").unwrap();
        buf.truncate(n);
        buf
    }

    /// Sends what is refused, in every form; after each few, `good` and its answer: nothing else
    /// comes back. How often each code was due.
    pub async fn expect_all(
        &self,
        hosts: &[(String, u16, Code)],
        good: &[u8],
        answer: &[u8],
    ) -> (BTreeMap<Code, u64>, u64) {
        let mut due = BTreeMap::<Code, u64>::new();
        let mut rounds = 0;
        for few in hosts.chunks(8) {
            for (host, port, code) in few {
                self.send(&[&named(&[0, 0, 0], host, *port)[..], b"bad"].concat()).await;
                *due.entry(*code).or_default() += 1;
                if let Some(ip) = address(host) {
                    self.send(&socks::datagram(&ip.to_string(), *port, b"bad")).await;
                    *due.entry(*code).or_default() += 1;
                }
            }
            self.send(good).await;
            assert_eq!(self.receive().await, answer, "beside {few:?}");
            rounds += 1;
        }
        (due, rounds)
    }
}
