//! A process of an edge: what is in its memory, and what its workers do.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_domain::budget::{Allowance, Bucket, Holding, LEASE_FIRST};
use tollgate_domain::daily::{Counters, Daybook};
use tollgate_domain::id::EdgeSession;
use tollgate_domain::time::Timestamp;

use crate::call::Sent;
use crate::dice::Dice;
use crate::journal::Journal;
use crate::node::Now;
use crate::planted::Planted;
use crate::recovery::Recovery;

/// Largest operation, in bytes: what one worker leaves in doubt at most.
pub const OPERATION: u64 = 256 << 10;

/// How far a process has come.
pub enum Stage {
    /// It has no epoch yet.
    Starting,
    /// It settles what earlier lives left.
    Recovering(Box<Recovery>),
    /// It serves.
    Serving,
}

/// A lease of a serving process.
pub struct Held {
    /// Which, of all leases of the run.
    pub serial: u64,
    /// Of which bucket.
    pub bucket: Bucket,
    /// The machine.
    pub known: Holding,
    /// Bytes to be reserved from.
    pub left: u64,
    /// At or below this, more is asked for.
    pub low: u64,
    /// Bytes given up when it began to close.
    pub given_up: u64,
    /// It is in the roster.
    pub listed: bool,
    /// Nothing more comes of it.
    pub gone: bool,
    /// Its last bytes are in the rows.
    pub written: bool,
    /// The bucket has closed it.
    pub closed: bool,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Nothing.
    Nothing,
    /// It reserved and announced; the call is not made yet.
    Announced {
        /// From which lease.
        serial: u64,
        /// How much it reserved.
        grant: u64,
        /// How much the call will move.
        moves: u64,
    },
    /// The call is made; nothing is counted yet.
    Called {
        /// From which lease.
        serial: u64,
        /// How much it reserved.
        grant: u64,
        /// How much moved.
        moves: u64,
    },
}

/// Where the writing of daily rows stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cycle {
    /// Between two.
    Idle,
    /// The day's rows are asked for.
    Loading(Timestamp),
    /// Earlier writes are confirmed.
    Confirming(Timestamp),
    /// Counters were added; their rows are written.
    Collected(Timestamp),
}

/// A process of an edge and what is in its memory, its journal apart.
pub struct Life {
    /// Which life.
    pub session: EdgeSession,
    /// Its journal.
    pub journal: Journal,
    /// How far it has come.
    pub stage: Stage,
    /// It ends when its leases are closed.
    pub leaving: bool,
    /// Its customer is idle: its books end, and begin anew.
    pub retiring: bool,
    /// It left: nothing of it remains.
    pub ended: bool,
    /// What it waits for.
    pub call: Option<Sent>,
    /// Leases, by age.
    pub held: Vec<Held>,
    /// Leases that it has done with since last asked.
    pub done: Vec<u64>,
    /// By worker.
    pub doing: Vec<Doing>,
    /// Somebody asked for bytes.
    pub thirsty: bool,
    /// The buckets as last seen.
    pub buckets: Vec<(Bucket, Allowance)>,
    /// They were looked at since the last lease ended.
    pub looked: bool,
    /// Buckets that were tried since.
    pub tried: BTreeSet<Bucket>,
    /// Bytes to aim for.
    pub desired: u64,
    /// When bytes last came, and what had moved of the lease by then.
    pub took: Option<(u64, u64)>,
    /// Daily rows.
    pub rows: Daybook<()>,
    /// Where their writing stands.
    pub cycle: Cycle,
    /// Closing leases whose last bytes the running cycle writes.
    pub collected: Vec<u64>,
    /// What each counter said when it was last added to its row.
    pub seen: BTreeMap<(u64, usize), Counters>,
}

impl Life {
    /// A process that has just begun.
    pub fn new(session: EdgeSession, workers: usize, now: Now) -> Self {
        Self {
            journal: Journal::new(session.clone(), workers, now.wall),
            session,
            stage: Stage::Starting,
            leaving: false,
            retiring: false,
            ended: false,
            call: None,
            held: Vec::new(),
            done: Vec::new(),
            doing: vec![Doing::Nothing; workers],
            thirsty: false,
            buckets: Vec::new(),
            looked: false,
            tried: BTreeSet::new(),
            desired: LEASE_FIRST,
            took: None,
            rows: Daybook::new(0),
            cycle: Cycle::Idle,
            collected: Vec::new(),
            seen: BTreeMap::new(),
        }
    }

    /// Whether it is closing all it holds.
    pub fn stopping(&self) -> bool {
        self.leaving || self.retiring
    }

    /// Whether a worker is between reserving and giving back.
    pub fn busy(&self) -> bool {
        self.doing.iter().any(|d| *d != Doing::Nothing)
    }

    /// Moves one worker one step on: reserve and announce, call, count and give back. Bytes that
    /// really moved, and of which bucket.
    pub fn traffic(&mut self, worker: usize, dice: &mut Dice, planted: Option<Planted>) -> Option<(Bucket, u64)> {
        match self.doing[worker] {
            Doing::Nothing => {
                self.reserve(worker, dice, planted);
                None
            }
            Doing::Announced { serial, grant, moves } => {
                self.doing[worker] = Doing::Called { serial, grant, moves };
                let of = self.held.iter().find(|h| h.serial == serial)?;
                Some((of.bucket.clone(), moves))
            }
            Doing::Called { serial, grant, moves } => {
                if planted != Some(Planted::CountsBeforeTheCall) {
                    self.journal.count(worker, moves);
                }
                self.journal.clear(worker);
                if let Some(h) = self.held.iter_mut().find(|h| h.serial == serial) {
                    h.left += grant - moves;
                }
                self.doing[worker] = Doing::Nothing;
                None
            }
        }
    }

    fn reserve(&mut self, worker: usize, dice: &mut Dice, planted: Option<Planted>) {
        let spends_on = planted == Some(Planted::GivesBackWhatItSpends);
        if (self.stopping() && !spends_on) || !matches!(self.stage, Stage::Serving) {
            return;
        }
        let Some(h) = self.held.iter_mut().find(|h| (spends_on || !h.known.closing()) && h.known.seq() > 0) else {
            self.thirsty = true;
            return;
        };
        let grant = h.left.min(1 + dice.roll(OPERATION));
        h.left -= grant;
        self.thirsty |= h.left <= h.low;
        if grant == 0 {
            return;
        }
        let moves = match dice.roll(4) {
            0 => dice.roll(grant + 1),
            _ => grant,
        };
        self.journal.announce(worker, h.serial, grant);
        if planted == Some(Planted::CountsBeforeTheCall) {
            self.journal.count(worker, moves);
        }
        self.doing[worker] = Doing::Announced { serial: h.serial, grant, moves };
    }
}
