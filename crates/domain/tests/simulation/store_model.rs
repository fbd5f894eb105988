//! The store's transitions as values, for one customer: the same names, conditions and answers as
//! in `tollgate_store`, each applied at once and whole. What a network does to calls is not here.
//!
//! The store's conformance test includes this file and holds it to the embedded engine.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_domain::budget::{Allowance, Bucket, Close, Closing, Lease, LeaseState, Take};
use tollgate_domain::daily::DayUsage;
use tollgate_domain::id::{EdgeId, EdgeSession};
use tollgate_domain::time::Timestamp;

/// When and by which plan a new bucket may be spent.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Version of the plan that grants.
    pub plan_ver: u32,
    /// From when.
    pub spend_from: Timestamp,
    /// Until when, exclusive.
    pub spend_until: Timestamp,
}

/// The items of one customer, and the epochs of edges.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// `ALLOW#`.
    pub allowances: BTreeMap<Bucket, Allowance>,
    /// `GRANTS#`: sources that granted or withdrew.
    sources: BTreeSet<String>,
    /// `EDGE#<id>#<epoch>`.
    roster: BTreeSet<(EdgeSession, Bucket)>,
    /// `USE#`, by day and session, of one line and proxy.
    pub rows: BTreeMap<(String, EdgeSession), DayUsage>,
    /// `EDGE#<id>`.
    epochs: BTreeMap<EdgeId, u64>,
}

impl Model {
    /// `Store::allowances`.
    pub fn allowances(&self) -> Vec<(Bucket, Allowance)> {
        self.allowances.iter().map(|(b, a)| (b.clone(), a.clone())).collect()
    }

    /// `Store::take`.
    pub fn take(&mut self, bucket: &Bucket, who: &EdgeSession, bytes: u64, settled: u64, seq: u64) -> Take {
        let Some(a) = self.allowances.get_mut(bucket) else { return Take::NoBucket };
        match a.take(who, bytes, settled, seq) {
            Ok(()) => Take::Taken { lease: a.leases[who].clone(), available: a.available },
            Err(_) => a.refused_take(who, bytes, settled, seq),
        }
    }

    /// `Store::give_back`.
    pub fn give_back(&mut self, bucket: &Bucket, who: &EdgeSession, bytes: u64, settled: u64, seq: u64) -> Take {
        let Some(a) = self.allowances.get_mut(bucket) else { return Take::NoBucket };
        match a.give_back(who, bytes, settled, seq) {
            Ok(()) => Take::Taken { lease: a.leases[who].clone(), available: a.available },
            Err(_) => a.refused_take(who, 0, settled, seq),
        }
    }

    /// `Store::close_lease`.
    pub fn close_lease(&mut self, bucket: &Bucket, who: &EdgeSession, last: Closing) -> Close {
        if last.used().is_none() {
            return Close::Overspent;
        }
        let Some(a) = self.allowances.get_mut(bucket) else { return Close::Closed };
        let fits = a.leases.get(who).is_some_and(|l| l.taken == last.taken);
        if fits && a.close(who, last.settled, last.doubt, last.seq).is_ok() {
            return Close::Closed;
        }
        a.refused_close(who, last)
    }

    /// Declares an open lease lost; the lost lease, if there is one.
    pub fn lose_lease(&mut self, bucket: &Bucket, who: &EdgeSession) -> Option<Lease> {
        let a = self.allowances.get_mut(bucket)?;
        a.lose(who).ok()?;
        a.leases.get(who).filter(|l| l.state == LeaseState::Lost).cloned()
    }

    /// `Store::grant`.
    pub fn grant(&mut self, bucket: &Bucket, source: &str, bytes: u64, terms: Terms) -> bool {
        if !self.sources.insert(source.to_owned()) {
            return false;
        }
        let Terms { plan_ver, spend_from, spend_until } = terms;
        let new = || Allowance::new(0, plan_ver, spend_from, spend_until);
        let a = self.allowances.entry(bucket.clone()).or_insert_with(new);
        a.grant(bytes).expect("grants fit");
        a.plan_ver = plan_ver;
        true
    }

    /// `Store::withdraw`.
    pub fn withdraw(&mut self, bucket: &Bucket, source: &str, most: u64) -> u64 {
        let Some(a) = self.allowances.get_mut(bucket) else { return 0 };
        if most.min(a.available) == 0 || !self.sources.insert(source.to_owned()) {
            return 0;
        }
        a.withdraw(most)
    }

    /// `Store::roster_add`.
    pub fn roster_add(&mut self, who: &EdgeSession, bucket: &Bucket) {
        self.roster.insert((who.clone(), bucket.clone()));
    }

    /// `Store::roster`.
    pub fn roster(&self, who: &EdgeSession) -> Vec<Bucket> {
        self.roster.iter().filter(|(s, _)| s == who).map(|(_, b)| b.clone()).collect()
    }

    /// `Store::roster_remove`.
    pub fn roster_remove(&mut self, who: &EdgeSession, bucket: &Bucket) {
        self.roster.remove(&(who.clone(), bucket.clone()));
    }

    /// `Store::record_usage`.
    pub fn record_usage(&mut self, day: &str, who: &EdgeSession, usage: &DayUsage) -> bool {
        let key = (day.to_owned(), who.clone());
        let applies = self.rows.get(&key).is_none_or(|r| r.seq < usage.seq);
        if applies {
            self.rows.insert(key, *usage);
        }
        applies
    }

    /// `Store::usage`: the rows of a month, in order of day.
    pub fn usage(&self, month: &str) -> Vec<((String, EdgeSession), DayUsage)> {
        self.rows.iter().filter(|((day, _), _)| day.starts_with(month)).map(|(k, u)| (k.clone(), *u)).collect()
    }

    /// `Store::start_epoch`.
    pub fn start_epoch(&mut self, edge: &EdgeId) -> EdgeSession {
        let epoch = self.epochs.entry(edge.clone()).or_default();
        *epoch += 1;
        EdgeSession { edge: edge.clone(), epoch: *epoch }
    }
}
