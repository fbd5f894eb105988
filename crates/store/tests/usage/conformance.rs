//! The same random script on the model of the store's transitions, which the domain's simulation
//! plays against, and on the engine: the same answers and the same items after each step, with and
//! without faults.

use tollgate_domain::budget::{Bucket, Lease};
use tollgate_domain::daily::DayUsage;
use tollgate_domain::id::EdgeId;
use tollgate_store::allowance::{Close, Closing, Rostered, Take};
use tollgate_store::usage::UsageKey;

use super::*;

#[path = "../../../domain/tests/simulation/store_model.rs"]
mod store_model;

use store_model::{Model, Terms};

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// The model and the engine, side by side.
struct Pair {
    /// Through which the script calls.
    store: Store,
    /// Through which it looks.
    clean: Store,
    /// Whether answers may be those of a second attempt.
    faults: bool,
    model: Model,
    dice: Dice,
    step: u64,
}

fn pack() -> Bucket {
    Bucket::Pack { expires: at(50), pack: "p1".into() }
}

fn usage_key(day: &str, who: &EdgeSession) -> UsageKey {
    UsageKey {
        day: day.to_owned(),
        line: "chip1".parse().unwrap(),
        proxy: "brd/203.0.113.7".parse().unwrap(),
        session: who.clone(),
    }
}

impl Pair {
    async fn new(seed: u64, faults: bool) -> Self {
        let (engine, clean) = super::store().await;
        let store = if faults { rough(&engine, seed).0 } else { clean.clone() };
        Self { store, clean, faults, model: Model::default(), dice: Dice(seed), step: 0 }
    }

    /// A call's arguments as a session would have them: mostly right, sometimes a little off.
    fn figures(&mut self, bucket: &Bucket, who: &EdgeSession) -> (u64, u64, u64) {
        let held = self.model.allowances.get(bucket).and_then(|a| a.leases.get(who));
        let (t, s, k) = held.map_or((0, 0, 0), |l| (l.taken, l.settled, l.seq));
        let seq = if self.dice.roll(6) == 0 { self.dice.roll(4) } else { k };
        let settled = if self.dice.roll(8) == 0 { self.dice.roll(6_000) } else { s + self.dice.roll(t - s + 1) };
        (t, settled, seq)
    }

    async fn take(&mut self, bucket: &Bucket, who: &EdgeSession) {
        let (_, settled, seq) = self.figures(bucket, who);
        let n = self.dice.roll(900);
        let want = self.model.take(bucket, who, n, settled, seq);
        let got: Take = insist!(self.store.take(&demo(), bucket, who, n, settled, seq));
        assert_eq!(got, want, "take {n} {settled} {seq}");
    }

    async fn give_back(&mut self, bucket: &Bucket, who: &EdgeSession) {
        let (taken, settled, seq) = self.figures(bucket, who);
        // Mostly what is there to give, sometimes more.
        let most = if self.dice.roll(4) == 0 { 900 } else { taken.saturating_sub(settled) };
        let n = self.dice.roll(most + 1);
        let want = self.model.give_back(bucket, who, n, settled, seq);
        let got: Take = insist!(self.store.give_back(&demo(), bucket, who, n, settled, seq));
        assert_eq!(got, want, "give back {n} {settled} {seq}");
    }

    async fn close(&mut self, bucket: &Bucket, who: &EdgeSession) {
        let (taken, settled, seq) = self.figures(bucket, who);
        let last = Closing { taken, settled, doubt: self.dice.roll(30), seq };
        let want = self.model.close_lease(bucket, who, last);
        let got: Close = insist!(self.store.close_lease(&demo(), bucket, who, last));
        assert_eq!(got, want, "close {last:?}");
    }

    async fn grant(&mut self, bucket: &Bucket) {
        // Sometimes a source that granted or withdrew before.
        let source = format!("s{}", self.step - self.dice.roll(3).min(self.step));
        let plan_ver = 1 + u32::try_from(self.step).unwrap();
        let grant = Grant { plan_ver, ..grant_of(&source, self.dice.roll(3_000)) };
        let terms = Terms { plan_ver, spend_from: grant.spend_from, spend_until: grant.spend_until };
        let want = self.model.grant(bucket, &source, grant.bytes, terms);
        let got: bool = insist!(self.store.grant(&demo(), bucket, &grant, at(self.step)));
        assert!(self.faults || got == want, "grant {source}");
    }

    async fn withdraw(&mut self, bucket: &Bucket) {
        let source = format!("s{}", self.step - self.dice.roll(3).min(self.step));
        let most = self.dice.roll(2_000);
        let want = self.model.withdraw(bucket, &source, most);
        let got: u64 = insist!(self.store.withdraw(&demo(), bucket, &source, most, at(self.step)));
        assert!(self.faults || got == want, "withdraw {source} {most}: {got}, not {want}");
    }

    async fn lose(&mut self, bucket: &Bucket, who: &EdgeSession) {
        let want = self.model.lose_lease(bucket, who);
        let got: Option<Lease> = insist!(self.store.lose_lease(&demo(), bucket, who));
        assert_eq!(got, want);
    }

    async fn roster(&mut self, bucket: &Bucket, who: &EdgeSession) {
        let entry = Rostered { customer: demo(), bucket: bucket.clone() };
        if self.dice.roll(2) == 0 {
            self.model.roster_add(who, bucket);
            insist!(self.store.roster_add(who, &entry));
        } else {
            self.model.roster_remove(who, bucket);
            insist!(self.store.roster_remove(who, &entry));
        }
        let listed: Vec<_> = self.clean.roster(who).await.unwrap().into_iter().map(|r| r.bucket).collect();
        let mut known = self.model.roster(who);
        // The store lists in order of text, the model in order of spending.
        known.sort_by_key(ToString::to_string);
        assert_eq!(listed, known, "roster of {who}");
    }

    async fn record(&mut self, who: &EdgeSession) {
        let day = ["2027-01-15", "2027-01-16", "2027-02-01"][usize::try_from(self.dice.roll(3)).unwrap()];
        let usage = DayUsage { seq: self.dice.roll(9), ingress: self.dice.roll(1_000), ..DayUsage::default() };
        let want = self.model.record_usage(day, who, &usage);
        let got: bool = insist!(self.store.record_usage(&demo(), &usage_key(day, who), &usage));
        assert!(self.faults || got == want, "record {day} {usage:?}");
        let month = &day[..7];
        let rows = self.clean.usage(&demo(), month).await.unwrap();
        let rows: Vec<_> = rows.into_iter().map(|(key, usage)| ((key.day, key.session), usage)).collect();
        assert_eq!(rows, self.model.usage(month), "rows of {month}");
    }

    async fn start_epoch(&mut self, edge: &EdgeId) {
        // A start that is repeated after a fault may skip an epoch.
        if !self.faults {
            let want = self.model.start_epoch(edge);
            assert_eq!(self.store.start_epoch(edge, at(self.step)).await.unwrap(), want);
        }
    }

    async fn one_step(&mut self) {
        let who = edge(self.dice.roll(3));
        let bucket = if self.dice.roll(4) == 0 { pack() } else { plan() };
        match self.dice.roll(28) {
            0..11 => self.take(&bucket, &who).await,
            24.. => self.give_back(&bucket, &who).await,
            11..15 => self.close(&bucket, &who).await,
            15..17 => self.grant(&bucket).await,
            17 => self.withdraw(&bucket).await,
            18 => self.lose(&bucket, &who).await,
            19..21 => self.roster(&bucket, &who).await,
            21..23 => self.record(&who).await,
            23 => self.start_epoch(&who.edge).await,
        }
        for (bucket, allowance) in &self.model.allowances {
            assert!(allowance.is_sound(), "{bucket}: {allowance:?}");
        }
        assert_eq!(self.clean.allowances(&demo()).await.unwrap(), self.model.allowances());
    }
}

async fn script(seed: u64, faults: bool) {
    let mut pair = Pair::new(seed, faults).await;
    pair.grant(&plan()).await;
    for step in 1..=60 {
        pair.step = step;
        let told = Told { seed, step };
        pair.one_step().await;
        drop(told);
    }
}

/// Says where a script was when an assertion failed.
struct Told {
    seed: u64,
    step: u64,
}

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in seed {}, step {}", self.seed, self.step);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_and_the_model_agree() {
    for seed in 0..40 {
        script(seed, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_and_the_model_agree_through_conflicts_and_lost_answers() {
    for seed in 1000..1006 {
        script(seed, true).await;
    }
}
