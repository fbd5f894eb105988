//! What goes over the network: calls of the store's transitions, and their answers.

use tollgate_domain::budget::{Allowance, Ask, Bucket, Close, Closing, Take};
use tollgate_domain::daily::DayUsage;
use tollgate_domain::id::EdgeSession;

/// A call of a transition.
#[derive(Clone, Debug)]
pub enum Call {
    /// `start_epoch`.
    StartEpoch,
    /// `allowances`.
    Look,
    /// `take`.
    Take {
        /// Of which bucket.
        bucket: Bucket,
        /// What.
        ask: Ask,
    },
    /// `give_back`.
    GiveBack {
        /// Of which bucket.
        bucket: Bucket,
        /// What.
        ask: Ask,
    },
    /// `close_lease`.
    Close {
        /// Of which bucket.
        bucket: Bucket,
        /// The last figures.
        last: Closing,
    },
    /// `roster`.
    Roster,
    /// `roster_add`.
    RosterAdd(Bucket),
    /// `roster_remove`.
    RosterRemove(Bucket),
    /// `usage` of a month, of which the session's own rows matter.
    Usage(String),
    /// `record_usage` of a day.
    Record(String, DayUsage),
}

impl Call {
    /// Whether it changes nothing.
    pub fn only_reads(&self) -> bool {
        matches!(self, Self::Look | Self::Roster | Self::Usage(_))
    }

    /// Whether it arrives no later than the end of the process that sent it: who settles a crash
    /// looks at rows and for leases once, and takes what it finds for all there will be.
    pub fn ends_with_its_life(&self) -> bool {
        match self {
            Self::Record(..) => true,
            Self::Take { ask, .. } => ask.seq == 0,
            _ => false,
        }
    }
}

/// A call on its way.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Whose lease, roster or row.
    pub session: EdgeSession,
    /// The lease it is about; 0 = none. No two leases of a run have the same.
    pub serial: u64,
    /// What.
    pub call: Call,
}

/// An answer to a call.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To [`Call::StartEpoch`].
    Epoch(EdgeSession),
    /// To [`Call::Look`].
    Allowances(Vec<(Bucket, Allowance)>),
    /// To [`Call::Take`] and [`Call::GiveBack`].
    Take(Take),
    /// To [`Call::Close`].
    Close(Close),
    /// To [`Call::Roster`].
    Roster(Vec<Bucket>),
    /// To [`Call::Usage`].
    Rows(Vec<(String, DayUsage)>),
    /// To the others.
    Done,
}
