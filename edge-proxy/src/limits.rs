//! Limits of one customer on this edge, all of which may change while tunnels are live.
//!
//! Threads are counted in [`crate::account`]; here are the rates: how often a customer, or one
//! of its source addresses, may connect and ask (`qps`), and how fast bytes may go (`shape`).
//!
//! Everything is an atomic schedule ([`rate::Schedule`]): no lock, no timer of its own, and
//! nothing to do where a limit is unset.

pub(crate) mod rate;
pub(crate) mod shape;
pub(crate) mod source;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use tollgate_domain::plan::Limits;
use tollgate_domain::refusal::{Code, Refusal};

use rate::Schedule;
use source::{Source, Sources};

/// The rates of one customer. 0 = unlimited, in every figure.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    qps: AtomicU32,
    qps_burst: AtomicU32,
    ip_qps: AtomicU32,
    ip_conns: AtomicU32,
    max_source_ips: AtomicU32,
    conn: AtomicU64,
    ip: AtomicU64,
    total: AtomicU64,
    ip_total: AtomicU64,
    port_total: AtomicU64,
    /// Whether any figure in bytes is set.
    shaped: AtomicBool,
    /// Counts changes: who waits for an old rate looks again.
    generation: AtomicU32,
    requests: Schedule,
    bytes: Schedule,
    sources: Sources,
}

impl Rates {
    /// Takes over the limits of a profile; `qps` and `total` are this edge's share of the fleet's.
    pub fn set(&self, limits: &Limits, qps: u32, total: u64) {
        let set = |a: &AtomicU64, v: u64| a.swap(v, Ordering::Relaxed) != v;
        let set32 = |a: &AtomicU32, v: u32| a.swap(v, Ordering::Relaxed) != v;
        let rates = [
            (&self.conn, limits.rate_conn),
            (&self.ip, limits.ip_rate),
            (&self.total, total),
            (&self.ip_total, limits.ip_rate_total),
            (&self.port_total, limits.port_rate_total),
        ];
        let changed = rates.iter().fold(false, |any, (a, v)| set(a, *v) | any);
        self.shaped.store(rates.iter().any(|(_, v)| *v > 0), Ordering::Relaxed);
        let counts = [
            (&self.qps, qps),
            (&self.qps_burst, limits.qps_burst),
            (&self.ip_qps, limits.ip_qps),
            (&self.ip_conns, limits.ip_conns),
            (&self.max_source_ips, limits.max_source_ips),
        ];
        let recounted = counts.iter().fold(false, |any, (a, v)| set32(a, *v) | any);
        if changed {
            self.bytes.reset();
            self.generation.fetch_add(1, Ordering::Release);
        }
        if recounted {
            self.requests.reset();
        }
    }

    /// Whether bytes are limited in any way. One relaxed load: asked before every operation.
    pub fn shaped(&self) -> bool {
        self.shaped.load(Ordering::Relaxed)
    }

    fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    fn sourced(&self) -> bool {
        let load = |a: &AtomicU32| a.load(Ordering::Relaxed) > 0;
        let bytes = self.ip_total.load(Ordering::Relaxed) > 0;
        load(&self.ip_qps) || load(&self.ip_conns) || load(&self.max_source_ips) || bytes
    }

    /// Counts one new connection or request at `now_ns` (see [`rate::now_ns`]).
    ///
    /// # Errors
    /// `QPS_EXCEEDED` with the limit and when to try again.
    pub fn ask(&self, source: Option<&Arc<Source>>, now_ns: u64) -> Result<(), Refusal> {
        if let Some(source) = source {
            let qps = self.ip_qps.load(Ordering::Relaxed);
            take(&source.requests, now_ns, qps, qps, "one source address")?;
        }
        let qps = self.qps.load(Ordering::Relaxed);
        let burst = match self.qps_burst.load(Ordering::Relaxed) {
            0 => qps,
            burst => burst,
        };
        take(&self.requests, now_ns, qps, burst, "this account")
    }

    /// Counts one connection of a source address while the answer lives; `None` where no limit
    /// looks at addresses.
    ///
    /// # Errors
    /// `IP_LIMIT` if the address has too many, or too many addresses are in use.
    pub fn enter(self: &Arc<Self>, peer: IpAddr) -> Result<Option<source::Present>, Refusal> {
        if !self.sourced() {
            return Ok(None);
        }
        let (conns, ips) = (self.ip_conns.load(Ordering::Relaxed), self.max_source_ips.load(Ordering::Relaxed));
        source::enter(self, peer, conns, ips).map(Some)
    }
}

fn take(schedule: &Schedule, now_ns: u64, qps: u32, burst: u32, whose: &str) -> Result<(), Refusal> {
    let Err(wait_ns) = schedule.take(now_ns, qps, burst) else { return Ok(()) };
    let seconds = u32::try_from(wait_ns.div_ceil(1_000_000_000)).unwrap_or(u32::MAX).max(1);
    let detail = format!("{whose} may connect or ask {qps} times a second, {burst} at once");
    Err(Refusal::new(Code::QpsExceeded, detail).retry_after(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn rates(limits: &Limits) -> Arc<Rates> {
        let rates = Arc::new(Rates::default());
        rates.set(limits, limits.qps, limits.rate_total);
        rates
    }

    #[test]
    fn requests_come_at_once_up_to_the_burst_and_then_at_the_rate() {
        let r = rates(&Limits { qps: 10, qps_burst: 3, ..Limits::default() });
        for _ in 0..3 {
            r.ask(None, 5 * S).unwrap();
        }
        let refused = r.ask(None, 5 * S).unwrap_err();
        assert_eq!((refused.code, refused.retry_after_s), (Code::QpsExceeded, Some(1)));
        r.ask(None, 5 * S + S / 10).unwrap();
        r.ask(None, 5 * S + S / 10).unwrap_err();
        // A change of the plan is in force at once.
        r.set(&Limits::default(), 0, 0);
        for _ in 0..1000 {
            r.ask(None, 5 * S).unwrap();
        }
    }

    #[test]
    fn a_source_address_has_connections_and_requests_of_its_own() {
        let r = rates(&Limits { ip_conns: 2, ip_qps: 1, max_source_ips: 2, ..Limits::default() });
        let ip = |n: u8| IpAddr::from([192, 0, 2, n]);
        let a = r.enter(ip(1)).unwrap().unwrap();
        let a2 = r.enter(ip(1)).unwrap().unwrap();
        assert_eq!(r.enter(ip(1)).unwrap_err().code, Code::IpLimit);
        r.ask(Some(a.source()), S).unwrap();
        assert_eq!(r.ask(Some(a.source()), S).unwrap_err().code, Code::QpsExceeded);
        let b = r.enter(ip(2)).unwrap().unwrap();
        r.ask(Some(b.source()), S).unwrap();
        assert_eq!(r.enter(ip(3)).unwrap_err().code, Code::IpLimit);
        drop((a, a2));
        assert!(r.enter(ip(3)).unwrap().is_some());
        assert!(rates(&Limits::default()).enter(ip(1)).unwrap().is_none());
    }

    #[test]
    fn a_v6_network_of_one_subscriber_is_one_source() {
        let r = rates(&Limits { max_source_ips: 1, ..Limits::default() });
        let _a = r.enter("2001:db8:1:2::1".parse().unwrap()).unwrap();
        let _b = r.enter("2001:db8:1:2:ffff::1".parse().unwrap()).unwrap();
        r.enter("2001:db8:1:3::1".parse().unwrap()).unwrap_err();
        // The same host over a mapped address.
        let r = rates(&Limits { max_source_ips: 1, ..Limits::default() });
        let _a = r.enter("192.0.2.1".parse().unwrap()).unwrap();
        let _b = r.enter("::ffff:192.0.2.1".parse().unwrap()).unwrap();
    }
}
