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

use rate::{DEPTH_NS, Schedule, now_ns};
use source::{Source, Sources};

/// The rates of one customer. 0 = unlimited, in every figure; that this edge's share of a limit is
/// none at all is said apart.
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
    /// The requests a second are limited, and other edges hold all of them.
    no_qps: AtomicBool,
    /// The bytes a second are limited, and other edges hold all of them.
    no_total: AtomicBool,
    /// Whether any figure in bytes is set.
    shaped: AtomicBool,
    /// Connections and requests since somebody last looked, those that were refused too.
    asked: AtomicU64,
    /// Whether one was refused since then, because this edge may admit no more.
    in_vain: AtomicBool,
    /// Whether bytes have waited since then, because this edge may move no more.
    held_back: AtomicBool,
    /// Counts changes: who waits for an old rate looks again.
    generation: AtomicU32,
    requests: Schedule,
    bytes: Schedule,
    sources: Sources,
}

impl Rates {
    /// Takes over the limits of a profile. `qps` and `total` are this edge's share of the fleet's:
    /// none = unlimited, 0 = none at all.
    pub fn set(&self, limits: &Limits, qps: Option<u32>, total: Option<u64>) {
        let set = |a: &AtomicU64, v: u64| a.swap(v, Ordering::Relaxed) != v;
        let (none, no_qps, no_total) = (self.stands_still(), qps == Some(0), total == Some(0));
        let (old_qps, old_total) = (self.qps.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        // Where there is none at all the figure stays: 0 alone is unlimited, if only for a moment.
        let qps = if no_qps { old_qps } else { qps.unwrap_or(0) };
        let total = if no_total { old_total } else { total.unwrap_or(0) };
        let rates = [
            (&self.conn, limits.rate_conn),
            (&self.ip, limits.ip_rate),
            (&self.total, total),
            (&self.ip_total, limits.ip_rate_total),
            (&self.port_total, limits.port_rate_total),
        ];
        let changed = rates.iter().fold(false, |any, (a, v)| set(a, *v) | any);
        self.shaped.store(no_total || rates.iter().any(|(_, v)| *v > 0), Ordering::Relaxed);
        self.qps.store(qps, Ordering::Relaxed);
        self.qps_burst.store(burst(limits, qps), Ordering::Relaxed);
        self.ip_qps.store(limits.ip_qps, Ordering::Relaxed);
        self.ip_conns.store(limits.ip_conns, Ordering::Relaxed);
        self.max_source_ips.store(limits.max_source_ips, Ordering::Relaxed);
        self.no_qps.store(no_qps, Ordering::Release);
        self.no_total.store(no_total, Ordering::Release);
        if changed || none != no_total {
            self.bytes.rescale(now_ns(), old_total, total, DEPTH_NS);
            self.generation.fetch_add(1, Ordering::Release);
        }
        if old_qps != qps {
            self.requests.rescale(now_ns(), u64::from(old_qps), u64::from(qps), u64::MAX);
        }
    }

    /// Whether bytes are limited in any way. One relaxed load: asked before every operation.
    pub fn shaped(&self) -> bool {
        self.shaped.load(Ordering::Relaxed)
    }

    /// Whether somebody lacked more of the fleet's rates since they were last looked at.
    pub fn lacking(&self) -> bool {
        self.in_vain.load(Ordering::Relaxed) || self.held_back.load(Ordering::Relaxed)
    }

    /// What came since the last look: connections and requests, whether one was refused, whether
    /// bytes were held back.
    pub fn look(&self) -> (u64, bool, bool) {
        let flag = |a: &AtomicBool| a.swap(false, Ordering::Relaxed);
        (self.asked.swap(0, Ordering::Relaxed), flag(&self.in_vain), flag(&self.held_back))
    }

    fn holds_back(&self) {
        self.held_back.store(true, Ordering::Relaxed);
    }

    /// Whether no byte may move here, because other edges hold the whole rate.
    fn stands_still(&self) -> bool {
        self.no_total.load(Ordering::Acquire)
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
        let none = self.no_qps.load(Ordering::Acquire);
        let qps = self.qps.load(Ordering::Relaxed);
        if qps == 0 && !none {
            return Ok(());
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        let admitted = if none {
            let detail = "other edges hold all requests that this account may make a second";
            Err(Refusal::new(Code::QpsExceeded, detail).retry_after(1))
        } else {
            let burst = self.qps_burst.load(Ordering::Relaxed);
            take(&self.requests, now_ns, qps, burst, "this account")
        };
        admitted.inspect_err(|_| self.in_vain.store(true, Ordering::Relaxed))
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

/// How many may come at once where this edge may admit `qps` a second: its part of the plan's
/// burst, at least one.
fn burst(limits: &Limits, qps: u32) -> u32 {
    if limits.qps_burst == 0 || limits.qps == 0 {
        return qps;
    }
    let part = (u64::from(limits.qps_burst) * u64::from(qps)).div_ceil(u64::from(limits.qps));
    u32::try_from(part).unwrap_or(u32::MAX).max(1)
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
        rates.set(limits, whole(limits.qps), None);
        rates
    }

    fn whole(limit: u32) -> Option<u32> {
        (limit > 0).then_some(limit)
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
        r.set(&Limits::default(), None, None);
        for _ in 0..1000 {
            r.ask(None, 5 * S).unwrap();
        }
    }

    #[test]
    fn a_share_of_the_requests_has_its_part_of_the_burst_and_none_is_not_unlimited() {
        let limits = Limits { qps: 10, qps_burst: 4, ..Limits::default() };
        let r = Arc::new(Rates::default());
        r.set(&limits, Some(5), None);
        for _ in 0..2 {
            r.ask(None, 5 * S).unwrap();
        }
        assert!(!r.lacking());
        r.ask(None, 5 * S).unwrap_err();
        assert!(r.lacking());
        assert_eq!((r.look(), r.look()), ((3, true, false), (0, false, false)));
        r.set(&limits, Some(0), Some(0));
        let refused = r.ask(None, 50 * S).unwrap_err();
        assert_eq!((refused.code, refused.retry_after_s), (Code::QpsExceeded, Some(1)));
        assert!(r.shaped() && r.stands_still());
        r.set(&limits, None, None);
        r.ask(None, 50 * S).unwrap();
        assert!(!r.shaped());
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
