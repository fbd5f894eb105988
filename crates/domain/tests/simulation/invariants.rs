//! What must hold: at every step, and once all is at rest.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_domain::budget::{Allowance, Bucket, LeaseState};
use tollgate_domain::id::EdgeSession;

use crate::life::OPERATION;
use crate::store_model::Model;

/// What really happened in one bucket, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bytes {
    /// Moved by system calls.
    pub moved: u64,
    /// Settled by closings.
    pub settled: u64,
    /// Left in doubt by closings.
    pub doubt: u64,
}

/// What really happened, as nobody in the simulation can see it.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// By bucket.
    pub bytes: BTreeMap<Bucket, Bytes>,
    /// Crashes whose journals were found again, times their workers.
    pub crashed_workers: u64,
    /// Lives that crashed at all.
    pub crashes: u64,
    /// Lives whose journals are gone.
    pub orphans: BTreeSet<EdgeSession>,
    /// Lives that were declared lost.
    pub lost: BTreeSet<EdgeSession>,
}

impl Truth {
    /// What holds at every instant, whatever is under way.
    pub fn check(&self, model: &Model) -> Result<(), String> {
        for (bucket, a) in &model.allowances {
            let b = self.of(bucket);
            check(a.is_sound(), "4: available + folded + Σ taken = granted, settled + doubt ≤ taken", bucket, a)?;
            check(b.moved <= a.granted - a.available, "4: no edge moves a byte that it has not taken", bucket, b)?;
            check(b.moved <= a.granted, "4: no quota is overshot", bucket, b)?;
            check(a.folded == b.settled + b.doubt, "4: what is folded was settled or is in doubt", bucket, (a, b))?;
            check(billed(a, b) <= b.moved, "3: what is billed has moved", bucket, (a, b))?;
        }
        let (rows, moved) = (rows(model), self.moved());
        check(rows <= moved, "3: what the daily rows say has moved", "rows", (rows, moved))
    }

    /// What holds when every life has ended or is lost, and nothing is under way.
    pub fn check_at_rest(&self, model: &Model) -> Result<(), String> {
        self.check(model)?;
        for (bucket, a) in &model.allowances {
            let b = self.of(bucket);
            let open = a.leases.values().any(|l| l.state == LeaseState::Open);
            check(!open, "at rest no lease is open", bucket, a)?;
            let lost: u64 = a.leases.values().map(|l| l.doubt).sum();
            check(b.moved <= billed(a, b) + b.doubt + lost, "3: what moved is billed or in doubt", bucket, (a, b))?;
        }
        let (rows, moved) = (rows(model), self.moved());
        let (billed, doubt) = model.allowances.iter().fold((0, 0), |(billed, doubt), (bucket, a)| {
            let b = self.of(bucket);
            (billed + self::billed(a, b), doubt + b.doubt)
        });
        check(
            doubt <= self.crashed_workers * OPERATION,
            "3: a crash leaves at most one operation per worker in doubt",
            "doubt",
            (doubt, self.crashed_workers),
        )?;
        if self.lost.is_empty() {
            check(rows == billed, "3: the daily rows say what the leases settled", "rows", (rows, billed))?;
        }
        if self.crashes == 0 && self.lost.is_empty() {
            check((doubt, billed) == (0, moved), "3: clean ends leave no doubt", "all", (doubt, billed, moved))?;
        }
        Ok(())
    }

    fn of(&self, bucket: &Bucket) -> Bytes {
        self.bytes.get(bucket).copied().unwrap_or_default()
    }

    fn moved(&self) -> u64 {
        self.bytes.values().map(|b| b.moved).sum()
    }
}

/// Bytes that leases settled, open, lost or closed.
fn billed(a: &Allowance, b: Bytes) -> u64 {
    b.settled + a.leases.values().map(|l| l.settled).sum::<u64>()
}

fn rows(model: &Model) -> u64 {
    model.rows.values().map(|u| u.bytes()).sum()
}

fn check(holds: bool, what: &str, of: impl std::fmt::Display, seen: impl std::fmt::Debug) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{what} ({of}): {seen:?}")) }
}
