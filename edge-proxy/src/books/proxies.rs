//! What is told of the proxies that this customer uses: bytes, last use, open tunnels. At most once a minute, and at
//! the end; what a crash leaves untold, recovery takes from the daily rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate_domain::id::ProxyId;
use tollgate_domain::time::Timestamp;
use tollgate_store::StoreError;
use tollgate_store::proxy_use::ProxyUse;

use super::Books;

/// How often, at most.
const EVERY: Duration = Duration::from_secs(60);

/// What is known of one proxy's row, and what it lacks.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// As the store has it; none = not read yet.
    stored: Option<ProxyUse>,
    /// The sequence of the latest attempt to write it: each has its own, for it may be applied later.
    seq: u64,
    /// Bytes that it lacks.
    more: u64,
    last_at: Timestamp,
    /// Tunnels now.
    open: u32,
}

impl Carried {
    fn due(&self) -> bool {
        self.more > 0 || self.open != self.stored.map_or(0, |s| s.open)
    }
}

impl Books {
    /// Notes what daily rows gained.
    pub(super) fn carried(&mut self, proxy: &ProxyId, bytes: u64, now: Timestamp) {
        let carried = self.proxies.entry(proxy.clone()).or_default();
        carried.more = carried.more.saturating_add(bytes);
        carried.last_at = carried.last_at.max(now);
    }

    /// Tells what changed, if it is time; at the `end` in any case, of no tunnels. `false`: the store
    /// failed; the next settlement makes up for it.
    pub(super) async fn tell_proxies(&mut self, now: Timestamp, end: bool) -> bool {
        if !end && self.proxies_told.is_some_and(|at| at.elapsed() < EVERY) {
            return true;
        }
        self.count_tunnels(now, end);
        let due: Vec<_> = self.proxies.iter().filter(|(_, c)| c.due()).map(|(proxy, _)| proxy.clone()).collect();
        for proxy in due {
            let told = self.tell(&proxy).await;
            if !self.check(told, "record_proxy_use") {
                return false;
            }
        }
        // What is out of use is read again when it is used again.
        self.proxies.retain(|_, c| c.open > 0);
        self.proxies_told = Some(Instant::now());
        true
    }

    fn count_tunnels(&mut self, now: Timestamp, end: bool) {
        let mut open: BTreeMap<ProxyId, u32> = BTreeMap::new();
        let tunnels = if end { Vec::new() } else { self.account.tunnels() };
        for tunnel in tunnels {
            *open.entry(tunnel.route.proxy.clone()).or_default() += 1;
        }
        for (proxy, carried) in &mut self.proxies {
            carried.open = open.remove(proxy).unwrap_or(0);
            if carried.open > 0 {
                carried.last_at = carried.last_at.max(now);
            }
        }
        for (proxy, n) in open {
            self.proxies.insert(proxy, Carried { open: n, last_at: now, ..Carried::default() });
        }
    }

    async fn tell(&mut self, proxy: &ProxyId) -> Result<(), StoreError> {
        let (core, id) = (Arc::clone(&self.core), self.account.id.clone());
        let Some(carried) = self.proxies.get_mut(proxy) else { return Ok(()) };
        let stored = match carried.stored {
            Some(stored) => stored,
            None => core.store.proxy_use(proxy, &id, &core.session).await?.unwrap_or_default(),
        };
        carried.stored = Some(stored);
        carried.seq = carried.seq.max(stored.seq) + 1;
        let next = ProxyUse {
            seq: carried.seq,
            bytes: stored.bytes.saturating_add(carried.more),
            last_at: carried.last_at.max(stored.last_at),
            open: carried.open,
        };
        core.store.record_proxy_use(proxy, &id, &core.session, &next).await?;
        carried.stored = Some(next);
        carried.more = 0;
        Ok(())
    }
}
