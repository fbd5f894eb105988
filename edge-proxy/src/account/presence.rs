//! The tunnels of a customer: counted, seen, ended.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tollgate_domain::refusal::{Code, Refusal};

use super::threads::Full;
use super::{Account, lock};
use crate::tunnel::{CloseReason, Tunnel};

impl Account {
    /// Tunnels and requests under way.
    pub fn live(&self) -> u32 {
        self.threads.taken()
    }

    /// Whether the account was given up; load it anew.
    pub fn gone(&self) -> bool {
        self.threads.closed()
    }

    /// Gives the account up if nothing is under way.
    pub fn retire(&self) -> bool {
        self.threads.close()
    }

    /// How long ago it was last used.
    pub fn idle_ms(&self) -> u64 {
        self.elapsed().saturating_sub(self.seen_ms.load(Ordering::Relaxed))
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Counts one more tunnel, within the threads. `Ok(None)`: the account was given up.
    pub fn enter(self: &Arc<Self>) -> Result<Option<Entered>, Refusal> {
        match self.threads.take() {
            Ok(()) => {
                self.entered.fetch_add(1, Ordering::Relaxed);
                self.seen_ms.store(self.elapsed(), Ordering::Relaxed);
                Ok(Some(Entered(Arc::clone(self))))
            }
            Err(Full::Closed) => Ok(None),
            Err(Full::Taken { taken, limit }) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                self.lack();
                let detail = format!("{taken} connections are open here, at most {limit} may be");
                Err(Refusal::new(Code::ThreadsExceeded, detail))
            }
        }
    }

    pub fn register(&self, tunnel: &Arc<Tunnel>) {
        lock(&self.tunnels).insert(tunnel.id, Arc::clone(tunnel));
    }

    pub fn unregister(&self, id: u64) {
        lock(&self.tunnels).remove(&id);
    }

    /// Where its tunnels come from, each address once.
    pub fn tunnel_sources(&self) -> BTreeSet<IpAddr> {
        lock(&self.tunnels).values().map(|t| t.source).collect()
    }

    /// The tunnels under way.
    pub fn tunnels(&self) -> Vec<Arc<Tunnel>> {
        lock(&self.tunnels).values().cloned().collect()
    }

    /// Ends every tunnel for which `why` has a reason.
    pub fn kill(&self, why: impl Fn(&Tunnel) -> Option<CloseReason>) {
        for tunnel in lock(&self.tunnels).values() {
            if let Some(reason) = why(tunnel) {
                tunnel.kill(reason);
            }
        }
    }
}

/// One tunnel, counted while this lives.
pub(crate) struct Entered(Arc<Account>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.seen_ms.store(self.0.elapsed(), Ordering::Relaxed);
        self.0.threads.leave();
    }
}
