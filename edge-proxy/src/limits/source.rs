//! Source addresses of one customer: how many, and what each one does.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tollgate_domain::refusal::{Code, Refusal};

use super::Rates;
use super::rate::Schedule;

/// One source address with connections.
#[derive(Debug, Default)]
pub(crate) struct Source {
    live: AtomicU32,
    pub requests: Schedule,
    pub bytes: Schedule,
}

/// Addresses with connections. Locked when a connection comes or goes, never for its bytes.
#[derive(Debug, Default)]
pub(crate) struct Sources(Mutex<HashMap<IpAddr, Arc<Source>>>);

impl Sources {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<Source>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What counts as one address: an IPv6 subscriber has a /64.
pub(crate) fn subscriber(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

/// A connection of a source address, counted while this lives.
#[derive(Debug)]
pub(crate) struct Present {
    rates: Arc<Rates>,
    ip: IpAddr,
    source: Arc<Source>,
}

impl Present {
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }
}

/// See [`Rates::enter`].
pub(super) fn enter(rates: &Arc<Rates>, peer: IpAddr, most_conns: u32, most_ips: u32) -> Result<Present, Refusal> {
    let ip = subscriber(peer);
    let mut sources = rates.sources.lock();
    let known = sources.get(&ip).cloned();
    if known.is_none() && most_ips > 0 && sources.len() >= most_ips as usize {
        let detail = format!("{} source addresses are in use, at most {most_ips} may be", sources.len());
        return Err(Refusal::new(Code::IpLimit, detail));
    }
    let source = known.unwrap_or_default();
    let live = source.live.load(Ordering::Relaxed);
    if most_conns > 0 && live >= most_conns {
        let detail = format!("{live} connections of this source address are open, at most {most_conns} may be");
        return Err(Refusal::new(Code::IpLimit, detail));
    }
    source.live.store(live + 1, Ordering::Relaxed);
    sources.insert(ip, Arc::clone(&source));
    Ok(Present { rates: Arc::clone(rates), ip, source })
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut sources = self.rates.sources.lock();
        // Under the lock, so plain loads and stores do.
        let live = self.source.live.load(Ordering::Relaxed).saturating_sub(1);
        self.source.live.store(live, Ordering::Relaxed);
        if live == 0 {
            sources.remove(&self.ip);
        }
    }
}
