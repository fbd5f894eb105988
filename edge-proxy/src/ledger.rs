//! What a customer may move right now: the lease in force, and who waits for the next.
//!
//! Tunnels reserve from a [`Lease`] with one atomic operation. The lock is taken only where a
//! lease has run dry, and by the one task that keeps the customer's books.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tollgate_domain::budget::Bucket;

/// How long it is believed that a piece of some size is more than anybody gives.
const TOO_MUCH: Duration = Duration::from_secs(1);

/// Bytes taken from one bucket by this session, to be reserved from by tunnels.
#[derive(Debug)]
pub(crate) struct Lease {
    pub bucket: Bucket,
    /// Its slot in the journal.
    pub slot: usize,
    /// Unlike a slot, never used again.
    pub serial: u64,
    /// Bytes that the store gave, less those that went back to it.
    taken: AtomicU64,
    left: AtomicU64,
    /// At or below this, the next take is asked for.
    low: AtomicU64,
}

impl Lease {
    pub fn new(bucket: Bucket, slot: usize) -> Self {
        static SERIALS: AtomicU64 = AtomicU64::new(0);
        let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
        let zero = AtomicU64::default;
        Self { bucket, slot, serial, taken: zero(), left: zero(), low: zero() }
    }

    /// Bytes that the store gave, less those that went back to it.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Notes what the store says that the lease holds. For the books alone.
    pub fn note_taken(&self, bytes: u64) {
        self.taken.store(bytes, Ordering::Relaxed);
    }

    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Acquire)
    }

    /// Adds what the store gave, and asks for the next at half of it.
    pub fn add(&self, bytes: u64) {
        self.low.store(bytes / 2, Ordering::Relaxed);
        self.left.fetch_add(bytes, Ordering::AcqRel);
    }

    /// There is no more in the bucket: ask again only when it has run dry.
    pub fn last(&self) {
        self.low.store(0, Ordering::Relaxed);
    }

    /// Takes what is left beyond `keep`: nobody can reserve that any more. The next take is asked for
    /// only when the rest has run dry, for others come first.
    pub fn part_with(&self, keep: u64) -> u64 {
        let before = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |l| (l > keep).then_some(keep));
        before.map_or(0, |l| {
            self.last();
            l - keep
        })
    }

    /// Takes all that is left: nobody can reserve any more.
    pub fn drain(&self) -> u64 {
        self.left.swap(0, Ordering::AcqRel)
    }

    /// Up to `want` bytes; 0 if it has run dry.
    fn reserve(&self, want: u64) -> u64 {
        let taken = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |l| (l > 0).then(|| l - l.min(want)));
        taken.map_or(0, |before| before.min(want))
    }
}

/// Why no bytes can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dry {
    /// The customer has used up all that was granted.
    Quota,
    /// The store did not answer in time.
    Store,
}

/// Everything granted is used up.
#[derive(Clone, Copy, Debug)]
struct Exhausted {
    /// Until when that is believed; none = until somebody says otherwise.
    until: Option<Instant>,
}

#[derive(Debug, Default)]
struct Inner {
    current: Option<Arc<Lease>>,
    /// Opened, and not yet closed in the store.
    open: Vec<Arc<Lease>>,
    exhausted: Option<Exhausted>,
    /// A size that no bucket has in one piece, and when that was known.
    too_much: Option<(u64, Instant)>,
}

impl Inner {
    fn is_exhausted(&self) -> bool {
        self.exhausted.is_some_and(|e| e.until.is_none_or(|until| Instant::now() < until))
    }
}

/// The door between tunnels and the customer's books.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    inner: Mutex<Inner>,
    changed: Notify,
    waiters: AtomicUsize,
    asked: AtomicBool,
    ask: Notify,
    /// The largest piece that somebody waits for.
    wanted: AtomicU64,
}

impl Ledger {
    /// Up to `want` bytes of `lease`; asks for more in time.
    pub fn reserve(&self, lease: &Lease, want: u64) -> u64 {
        let got = lease.reserve(want);
        if lease.left() <= lease.low.load(Ordering::Relaxed) {
            self.ask();
        }
        got
    }

    /// Gives back what a reservation did not use.
    pub fn give_back(&self, lease: &Lease, bytes: u64) {
        if bytes == 0 {
            return;
        }
        lease.left.fetch_add(bytes, Ordering::AcqRel);
        if self.waiters.load(Ordering::Acquire) > 0 {
            self.changed.notify_waiters();
        }
    }

    /// A lease with bytes left, waiting for one up to `patience`.
    pub async fn ready(&self, patience: Duration) -> Result<Arc<Lease>, Dry> {
        self.ready_for(1, patience).await
    }

    /// A lease with `need` bytes left, for what moves whole or not at all. [`Dry::Quota`] also means
    /// that some are left, but too few.
    pub async fn ready_for(&self, need: u64, patience: Duration) -> Result<Arc<Lease>, Dry> {
        if let Some(answer) = self.look(need) {
            return answer;
        }
        self.waiters.fetch_add(1, Ordering::AcqRel);
        let waiting = Waiting(&self.waiters);
        let wait = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(answer) = self.look(need) {
                    return answer;
                }
                self.wanted.fetch_max(need, Ordering::AcqRel);
                self.ask();
                changed.await;
            }
        };
        let answer = tokio::time::timeout(patience, wait).await.unwrap_or(Err(Dry::Store));
        drop(waiting);
        answer
    }

    fn look(&self, need: u64) -> Option<Result<Arc<Lease>, Dry>> {
        let inner = self.inner();
        if let Some(lease) = inner.current.as_ref().filter(|l| l.left() >= need) {
            return Some(Ok(Arc::clone(lease)));
        }
        let too_much = inner.too_much.is_some_and(|(size, at)| need >= size && at.elapsed() < TOO_MUCH);
        (inner.is_exhausted() || too_much).then_some(Err(Dry::Quota))
    }

    /// The largest piece that was waited for since the last call; 0 = none. For the books alone.
    pub fn wanted(&self) -> u64 {
        self.wanted.swap(0, Ordering::AcqRel)
    }

    /// Whether everything granted is used up.
    pub fn exhausted(&self) -> bool {
        self.inner().is_exhausted()
    }

    /// Bytes held and not reserved.
    pub fn left(&self) -> u64 {
        self.inner().current.as_ref().map_or(0, |l| l.left())
    }

    fn ask(&self) {
        if !self.asked.swap(true, Ordering::AcqRel) {
            self.ask.notify_one();
        }
    }

    /// Waits until somebody asks for bytes. For the books alone.
    pub async fn asked(&self) {
        self.ask.notified().await;
        self.asked.store(false, Ordering::Release);
    }

    /// Notes a lease that the store is about to be asked for.
    pub fn opened(&self, lease: &Arc<Lease>) {
        self.inner().open.push(Arc::clone(lease));
    }

    /// Notes that the store has closed a lease.
    pub fn closed(&self, lease: &Arc<Lease>) {
        self.inner().open.retain(|l| !Arc::ptr_eq(l, lease));
    }

    /// Leases of which the store may hold something, in force or not.
    pub fn open(&self) -> Vec<Arc<Lease>> {
        self.inner().open.clone()
    }

    /// Puts a lease in force, or none.
    pub fn install(&self, lease: Option<Arc<Lease>>) {
        self.inner().current = lease;
    }

    /// Tells who waits to look again.
    pub fn announce(&self, exhausted: bool) {
        self.say(exhausted.then_some(Exhausted { until: None }));
    }

    /// Tells who waits that everything granted is used up. Who asks later than `believed` waits
    /// again: others may have something by then.
    pub fn announce_dry_for(&self, believed: Duration) {
        self.say(Some(Exhausted { until: Some(Instant::now() + believed) }));
    }

    fn say(&self, exhausted: Option<Exhausted>) {
        {
            let mut inner = self.inner();
            inner.exhausted = exhausted;
            inner.too_much = None;
        }
        self.changed.notify_waiters();
    }

    /// Tells who waits for `size` bytes in one piece that there are too few.
    pub fn announce_too_much(&self, size: u64) {
        {
            let mut inner = self.inner();
            inner.exhausted = None;
            inner.too_much = Some((size, Instant::now()));
        }
        self.changed.notify_waiters();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use tollgate_domain::time::Timestamp;

    use super::*;

    fn lease() -> Arc<Lease> {
        Arc::new(Lease::new(Bucket::Plan { start: Timestamp::from_secs(0) }, 0))
    }

    #[test]
    fn a_lease_never_gives_more_than_it_has() {
        let (ledger, l) = (Ledger::default(), lease());
        l.add(100);
        assert_eq!(ledger.reserve(&l, 64), 64);
        assert_eq!(ledger.reserve(&l, 64), 36);
        assert_eq!(ledger.reserve(&l, 64), 0);
        ledger.give_back(&l, 10);
        assert_eq!(ledger.reserve(&l, 64), 10);
    }

    #[tokio::test]
    async fn a_waiter_hears_of_a_lease_and_of_the_end() {
        let ledger = Arc::new(Ledger::default());
        let l = lease();
        let waiter = tokio::spawn({
            let ledger = Arc::clone(&ledger);
            async move { ledger.ready(Duration::from_secs(5)).await.map(|l| l.left()) }
        });
        ledger.asked().await;
        l.add(7);
        ledger.install(Some(Arc::clone(&l)));
        ledger.announce(false);
        assert_eq!(waiter.await.unwrap(), Ok(7));
        l.drain();
        ledger.announce(true);
        assert_eq!(ledger.ready(Duration::from_secs(5)).await.map(|_| ()), Err(Dry::Quota));
    }

    #[tokio::test]
    async fn a_piece_waits_until_it_fits_whole_or_never_will() {
        let ledger = Arc::new(Ledger::default());
        let l = lease();
        l.add(10);
        ledger.install(Some(Arc::clone(&l)));
        let wait = |need| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move { ledger.ready_for(need, Duration::from_secs(5)).await.map(|l| l.left()) })
        };
        let waiter = wait(30);
        ledger.asked().await;
        assert_eq!((ledger.wanted(), ledger.wanted()), (30, 0));
        l.add(20);
        ledger.announce(false);
        assert_eq!(waiter.await.unwrap(), Ok(30));
        let waiter = wait(31);
        ledger.asked().await;
        ledger.announce_too_much(31);
        assert_eq!(waiter.await.unwrap(), Err(Dry::Quota));
        // What is smaller goes on.
        assert_eq!(ledger.ready_for(30, Duration::from_secs(5)).await.map(|l| l.left()), Ok(30));
    }

    #[test]
    fn what_a_lease_parts_with_is_what_is_beyond_what_it_keeps() {
        let (ledger, l) = (Ledger::default(), lease());
        l.add(100);
        assert_eq!((l.part_with(100), l.part_with(30), l.part_with(40), l.left()), (0, 70, 0, 30));
        assert_eq!(ledger.reserve(&l, 64), 30);
        assert_eq!((l.part_with(0), l.left()), (0, 0));
    }

    #[tokio::test]
    async fn an_end_that_is_believed_for_a_while_is_asked_about_again() {
        let ledger = Arc::new(Ledger::default());
        ledger.announce_dry_for(Duration::from_secs(3600));
        assert!(ledger.exhausted());
        assert_eq!(ledger.ready(Duration::from_secs(5)).await.map(|_| ()), Err(Dry::Quota));
        ledger.announce_dry_for(Duration::ZERO);
        assert!(!ledger.exhausted());
        let waiter = tokio::spawn({
            let ledger = Arc::clone(&ledger);
            async move { ledger.ready(Duration::from_secs(5)).await.map(|_| ()) }
        });
        ledger.asked().await;
        ledger.announce(true);
        assert_eq!(waiter.await.unwrap(), Err(Dry::Quota));
    }

    #[tokio::test]
    async fn bytes_given_back_wake_who_waits() {
        let ledger = Arc::new(Ledger::default());
        let l = lease();
        ledger.install(Some(Arc::clone(&l)));
        let waiter = tokio::spawn({
            let ledger = Arc::clone(&ledger);
            async move { ledger.ready(Duration::from_secs(5)).await.map(|l| l.left()) }
        });
        ledger.asked().await;
        ledger.give_back(&l, 3);
        assert_eq!(waiter.await.unwrap(), Ok(3));
    }
}
