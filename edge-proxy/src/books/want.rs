//! Rebalancing. Who has run dry asks other edges for what they hold and do not use, and waits a
//! moment for it; who hears that gives back what it does not use.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tollgate_domain::budget::{Allowance, Bucket, Heard};
use tollgate_domain::id::EdgeSession;
use tollgate_domain::time::Timestamp;
use tollgate_store::StoreError;
use tollgate_store::allowance::Take;

use super::{Books, Held};

/// How long those who have run dry wait for what others give back, at most.
const PAUSE: Duration = Duration::from_secs(3);
/// Others are told of one bucket at most this often.
const TELL: Duration = Duration::from_secs(1);
/// How long it is believed that others give nothing, after the first time in a row. It doubles with
/// each further time, so often.
const BELIEVED: Duration = Duration::from_secs(1);
const DOUBLINGS: u32 = 4;

/// That everything here has run dry, while others hold something.
#[derive(Debug, Default)]
pub(super) struct Hunger {
    since: Option<Instant>,
    retry_at: Option<tokio::time::Instant>,
    /// When others were last told of a bucket.
    told: HashMap<Bucket, Instant>,
    /// Times in a row that nothing came of it.
    vain: u32,
}

impl Hunger {
    /// When to look again, if others were asked.
    pub fn retry_at(&self) -> Option<tokio::time::Instant> {
        self.retry_at
    }

    /// Whether others were asked, and it is too early to look again.
    pub fn waits(&self) -> bool {
        self.retry_at.is_some_and(|at| tokio::time::Instant::now() < at)
    }

    /// There may be something now: look at once.
    pub fn hurry(&mut self) {
        self.retry_at = self.retry_at.map(|_| tokio::time::Instant::now());
    }

    /// Bytes came.
    pub fn fed(&mut self) {
        self.end();
        self.vain = 0;
    }

    /// Nobody waits for bytes, or there are some.
    pub fn end(&mut self) {
        (self.since, self.retry_at) = (None, None);
    }

    /// Whether others were asked.
    fn is_on(&self) -> bool {
        self.since.is_some()
    }

    /// Whether there is still time to wait for others.
    fn goes_on(&mut self, patience: Duration) -> bool {
        self.since.get_or_insert_with(Instant::now).elapsed() < patience
    }

    /// Whether it is time to tell others of a bucket; it counts as told then.
    fn is_to_tell(&mut self, bucket: &Bucket) -> bool {
        self.told.retain(|_, at| at.elapsed() < TELL);
        let new = !self.told.contains_key(bucket);
        if new {
            self.told.insert(bucket.clone(), Instant::now());
        }
        new
    }

    /// Others were asked and gave nothing: for how long that is believed. None: nobody was asked.
    pub fn in_vain(&mut self) -> Option<Duration> {
        let asked = self.is_on();
        self.end();
        asked.then(|| {
            let believed = BELIEVED * (1u32 << self.vain.min(DOUBLINGS));
            self.vain = self.vain.saturating_add(1);
            believed
        })
    }
}

// === who lacks ===

impl Books {
    /// It is looked now. Whether that is in vain: nobody waits any more for what others were asked for.
    pub(super) fn sated(&mut self) -> bool {
        self.hunger.retry_at = None;
        let sated = self.hunger.is_on() && self.account.live() == 0;
        if sated {
            self.hunger.end();
        }
        sated
    }

    /// Whether a lease that has run dry is kept: there is more in its bucket after all, or others were
    /// asked for what they hold of it. Its sequence goes on then, however soon something comes.
    pub(super) async fn keeps(&mut self, n: usize, now: Timestamp) -> Result<bool, StoreError> {
        if self.held[n].known.lost() {
            return Ok(false);
        }
        self.look().await?;
        let bucket = self.held[n].lease.bucket.clone();
        let has = |(_, a): &(Bucket, Allowance)| a.spendable(now) && a.available > 0;
        let here = self.buckets.iter().any(|b| b.0 == bucket && has(b));
        let elsewhere = self.buckets.iter().any(|b| b.0 != bucket && has(b));
        if here && self.take_more(n).await? {
            return Ok(true);
        }
        Ok(!elsewhere && self.ask_others(now).await)
    }

    /// Nothing is available, as the buckets were last seen. Whether others hold something and there is
    /// time to wait for it: they are asked then, and it is looked again in a moment.
    pub(super) async fn ask_others(&mut self, now: Timestamp) -> bool {
        let own = &self.core.session;
        let held = |a: &Allowance| a.spendable(now) && a.held_by(|who: &EdgeSession| who != own) > 0;
        let held: Vec<Bucket> = self.buckets.iter().filter(|(_, a)| held(a)).map(|(b, _)| b.clone()).collect();
        if held.is_empty() {
            self.hunger.end();
            return false;
        }
        // Those who wait hear the end of it before they lose patience with the store.
        if !self.hunger.goes_on(PAUSE.min(self.core.config.lease_timeout * 3 / 5)) {
            return false;
        }
        for bucket in held {
            if self.hunger.is_to_tell(&bucket) {
                let told = self.core.store.want(&self.account.id, &bucket, &self.core.session, now).await;
                self.check(told, "want");
            }
        }
        self.hunger.retry_at = Some(tokio::time::Instant::now() + self.core.config.feed_interval);
        true
    }
}

// === who holds ===

impl Books {
    /// Bytes that the last second moved.
    pub(super) fn note_pace(&mut self) -> u64 {
        let moved = self.account.counted(&self.core.journal).bytes();
        self.pace.note(self.began.elapsed(), moved)
    }

    /// Another edge has run dry of a bucket: what is held of it beyond what the last second moved goes
    /// back. Who holds and does nothing keeps nothing.
    pub(super) async fn part_with(&mut self, bucket: &Bucket) {
        let keep = self.note_pace();
        let of_it = |h: &Held| !h.known.closing() && h.known.seq() > 0 && h.lease.bucket == *bucket;
        let Some(n) = self.held.iter().position(of_it) else { return };
        let h = &mut self.held[n];
        // The pool is given up before the call: nobody can reserve these any more.
        let bytes = h.lease.part_with(keep);
        h.known.give_up(bytes);
        if h.known.given_up() == 0 {
            return;
        }
        match self.give_back(n).await {
            Ok(answer) => {
                if !matches!(self.hear(n, &answer), Heard::Agreed { .. }) {
                    tracing::error!(customer = %self.account.id, ?answer, "giving back refused");
                }
            }
            // The next settlement makes up for it.
            Err(e) => self.failed("give_back", &e),
        }
    }

    /// Tells the store what was given up, and what moved.
    pub(super) async fn give_back(&self, n: usize) -> Result<Take, StoreError> {
        let h = &self.held[n];
        let ask = h.known.ask_back(self.account.moved(&self.core.journal, &h.lease));
        let (id, session) = (&self.account.id, &self.core.session);
        self.core.store.give_back(id, &h.lease.bucket, session, ask.bytes, ask.settled, ask.seq).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket() -> Bucket {
        Bucket::Plan { start: Timestamp::from_secs(0) }
    }

    #[test]
    fn others_are_told_of_a_bucket_once_in_a_while_however_often_it_runs_dry() {
        let mut hunger = Hunger::default();
        assert!(hunger.is_to_tell(&bucket()) && !hunger.is_to_tell(&bucket()));
        hunger.fed();
        assert!(!hunger.is_to_tell(&bucket()));
        assert!(hunger.is_to_tell(&Bucket::Unlimited { start: Timestamp::from_secs(0) }));
    }

    #[test]
    fn the_longer_nothing_comes_the_longer_that_is_believed() {
        let mut hunger = Hunger::default();
        assert_eq!(hunger.in_vain(), None, "nobody was asked");
        let vain = |hunger: &mut Hunger| {
            assert!(hunger.goes_on(PAUSE) && !hunger.goes_on(Duration::ZERO));
            hunger.in_vain().unwrap().as_secs()
        };
        let believed: Vec<_> = (0..6).map(|_| vain(&mut hunger)).collect();
        assert_eq!(believed, [1, 2, 4, 8, 16, 16]);
        hunger.fed();
        assert_eq!(vain(&mut hunger), 1);
    }

    #[test]
    fn news_are_looked_at_at_once_by_who_waits_for_them_and_nobody_else() {
        let mut hunger = Hunger::default();
        hunger.hurry();
        assert_eq!(hunger.retry_at(), None);
        hunger.retry_at = Some(tokio::time::Instant::now() + Duration::from_secs(3600));
        assert!(hunger.waits());
        hunger.hurry();
        assert!(!hunger.waits() && hunger.retry_at().is_some());
    }
}
