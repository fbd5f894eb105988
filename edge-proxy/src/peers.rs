//! Whether edges live: other ones, whose shares of customers who are active here are taken back if
//! they do not; and this one, as others see it.
//!
//! Silence is timed here, on a monotonic clock, from one look at a sign of life to a later one
//! that finds the same. What the wall clock of another edge says is compared with nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tollgate_domain::id::{EdgeId, EdgeSession};
use tollgate_domain::share::Watch;
use tollgate_store::StoreError;
use tollgate_store::cap::Silent;
use tollgate_store::edge::Sign;

use crate::core::Core;

/// A life that no customer's share has named for so long is looked at no more.
const REMEMBERED: Duration = Duration::from_secs(60);

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lives of other edges that have shares of customers who are active here.
#[derive(Debug)]
pub(crate) struct Peers {
    began: Instant,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    watch: Watch<Option<Sign>>,
    /// When each was last named.
    met: BTreeMap<EdgeSession, Duration>,
}

impl Default for Peers {
    fn default() -> Self {
        Self { began: Instant::now(), book: Mutex::default() }
    }
}

impl Peers {
    /// Notes whom a share names. Lives of this edge itself look after each other by their journals.
    pub fn meet(&self, own: &EdgeId, others: &[EdgeSession]) {
        if others.is_empty() {
            return;
        }
        let now = self.began.elapsed();
        let mut book = lock(&self.book);
        for other in others.iter().filter(|s| s.edge != *own) {
            book.met.insert(other.clone(), now);
        }
    }

    /// Whose sign of life was seen not to change for `after`.
    pub fn silent(&self, after: Duration) -> Vec<Silent> {
        let silent = lock(&self.book).watch.silent(after);
        silent.into_iter().map(|(session, sign)| Silent { session, sign }).collect()
    }

    /// Whom to look at, by edge.
    fn to_look_at(&self) -> BTreeMap<EdgeId, Vec<EdgeSession>> {
        let now = self.began.elapsed();
        let mut book = lock(&self.book);
        let Book { watch, met } = &mut *book;
        met.retain(|_, at| now.saturating_sub(*at) < REMEMBERED);
        watch.retain(|s| met.contains_key(s));
        let mut edges = BTreeMap::<_, Vec<_>>::new();
        for session in met.keys() {
            edges.entry(session.edge.clone()).or_default().push(session.clone());
        }
        edges
    }
}

/// Looks at them for ever.
pub(crate) async fn follow(core: Arc<Core>) {
    loop {
        tokio::time::sleep(core.config.heartbeat_interval).await;
        if let Err(e) = look(&core).await {
            // Who cannot look has seen nobody be silent.
            lock(&core.peers.book).watch.restart();
            core.metrics.store_failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(transition = "edge", error = %e, "store call failed");
        }
    }
}

async fn look(core: &Core) -> Result<(), StoreError> {
    let peers = &core.peers;
    for (edge, sessions) in peers.to_look_at() {
        let asked = peers.began.elapsed();
        let row = core.store.edge(&edge).await?;
        let answered = peers.began.elapsed();
        let mut book = lock(&peers.book);
        for session in sessions {
            let sign = row.as_ref().and_then(|r| r.sign(&session));
            book.watch.look(&session, sign, asked, answered);
        }
    }
    Ok(())
}

/// When others last had a sign of life of this edge.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// Longer without a sign is a lapse: others may be about to think that this edge is dead.
    most: Duration,
    last: Mutex<Instant>,
    lapses: AtomicU64,
}

impl Pulse {
    /// A pulse with a sign of life now; others wait `dead_after` for the next.
    pub fn new(dead_after: Duration) -> Self {
        Self { most: dead_after / 2, last: Mutex::new(Instant::now()), lapses: AtomicU64::new(0) }
    }

    /// Notes a sign of life that was sent then. Returns whether a lapse ends with it.
    pub fn beat(&self, sent: Instant) -> bool {
        let mut last = lock(&self.last);
        let lapsed = sent.saturating_duration_since(*last) > self.most;
        *last = sent.max(*last);
        if lapsed {
            self.lapses.fetch_add(1, Ordering::Relaxed);
        }
        lapsed
    }

    /// Lapses so far.
    pub fn lapses(&self) -> u64 {
        self.lapses.load(Ordering::Relaxed)
    }

    /// Whether this may be a lapse.
    pub fn is_faint(&self) -> bool {
        lock(&self.last).elapsed() > self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_time_between_two_beats_is_a_lapse() {
        let pulse = Pulse::new(Duration::from_secs(20));
        let began = Instant::now();
        let at = |s| began + Duration::from_secs(s);
        assert!(!pulse.beat(at(5)) && !pulse.beat(at(14)) && !pulse.is_faint());
        assert_eq!(pulse.lapses(), 0);
        assert!(pulse.beat(at(25)) && !pulse.beat(at(20)) && !pulse.beat(at(30)));
        assert_eq!(pulse.lapses(), 1);
        assert!(!Pulse::new(Duration::from_secs(20)).is_faint());
    }

    #[test]
    fn others_are_looked_at_while_shares_name_them() {
        let peers = Peers::default();
        let session = |text: &str| text.parse::<EdgeSession>().unwrap();
        peers.meet(&"e1".parse().unwrap(), &[session("e1.1"), session("e2.1"), session("e2.2"), session("e3.1")]);
        let edges = peers.to_look_at();
        let names: Vec<_> = edges.iter().map(|(e, s)| (e.as_str(), s.len())).collect();
        assert_eq!(names, [("e2", 2), ("e3", 1)]);
        assert!(peers.silent(Duration::ZERO).is_empty(), "nobody has looked yet");
    }
}
