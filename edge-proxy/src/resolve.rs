//! Names to addresses, for what the edge dials itself: gateways, and targets of direct upstreams.
//! Each worker remembers answers for a while, so that a busy gateway costs no lookup.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::deps::{BoxFuture, Resolver};

/// An answer is used again for this long.
const KNOWN: Duration = Duration::from_secs(30);
/// So is a failure.
const UNKNOWN: Duration = Duration::from_secs(1);
/// Names remembered by a worker.
const MOST: usize = 4096;
/// Addresses of a name that are looked at.
const ADDRESSES: usize = 16;

/// The resolver of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|a| a.ip()).collect()) })
    }
}

#[derive(Clone)]
struct Answer {
    addresses: Option<Rc<[IpAddr]>>,
    until: Instant,
}

/// What a worker remembers.
#[derive(Default)]
pub(crate) struct Names(RefCell<HashMap<String, Answer>>);

impl Names {
    /// The addresses of `host` (a name, or an address literal), IPv6 and IPv4 in turn as
    /// RFC 8305 section 4 asks.
    pub async fn lookup(&self, resolver: &dyn Resolver, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let with_port = |found: &Rc<[IpAddr]>| found.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        let unknown = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        if let Some(known) = self.known(host) {
            return known.as_ref().map(with_port).ok_or_else(unknown);
        }
        let found = resolver.lookup(host).await.map(|found| interleaved(&found)).unwrap_or_default();
        let addresses = (!found.is_empty()).then(|| Rc::from(found));
        self.remember(host, addresses.clone());
        addresses.as_ref().map(with_port).ok_or_else(unknown)
    }

    #[allow(clippy::option_option)] // known to have none is not unknown
    fn known(&self, host: &str) -> Option<Option<Rc<[IpAddr]>>> {
        let names = self.0.borrow();
        names.get(host).filter(|a| Instant::now() < a.until).map(|a| a.addresses.clone())
    }

    fn remember(&self, host: &str, addresses: Option<Rc<[IpAddr]>>) {
        let mut names = self.0.borrow_mut();
        let now = Instant::now();
        if names.len() >= MOST {
            names.retain(|_, a| now < a.until);
            if names.len() >= MOST {
                names.clear();
            }
        }
        let until = now + if addresses.is_some() { KNOWN } else { UNKNOWN };
        names.insert(host.to_owned(), Answer { addresses, until });
    }
}

/// The first family that was found, then the other, in turn.
fn interleaved(found: &[IpAddr]) -> Vec<IpAddr> {
    let first_v6 = found.first().is_some_and(IpAddr::is_ipv6);
    let mut own = found.iter().filter(|ip| ip.is_ipv6() == first_v6);
    let mut other = found.iter().filter(|ip| ip.is_ipv6() != first_v6);
    let mut out = Vec::new();
    loop {
        let pair = [own.next(), other.next()];
        if pair == [None, None] || out.len() >= ADDRESSES {
            return out;
        }
        out.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Counting(AtomicU32);

    impl Resolver for Counting {
        fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let found = if name == "a.test" { vec![[192, 0, 2, 1].into(), [192, 0, 2, 2].into()] } else { Vec::new() };
            Box::pin(async move { Ok(found) })
        }
    }

    #[tokio::test]
    async fn a_name_is_asked_for_once_and_a_literal_never() {
        let (names, resolver) = (Names::default(), Counting(AtomicU32::new(0)));
        for _ in 0..3 {
            assert_eq!(names.lookup(&resolver, "a.test", 80).await.unwrap().len(), 2);
            names.lookup(&resolver, "none.test", 80).await.unwrap_err();
            assert_eq!(names.lookup(&resolver, "2001:db8::1", 80).await.unwrap()[0].port(), 80);
        }
        assert_eq!(resolver.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn families_take_turns() {
        let (a, b): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let (c, d): (IpAddr, IpAddr) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        assert_eq!(interleaved(&[c, d, a, b]), [c, a, d, b]);
        assert_eq!(interleaved(&[a, b, c]), [a, c, b]);
        assert!(interleaved(&[]).is_empty());
    }
}
