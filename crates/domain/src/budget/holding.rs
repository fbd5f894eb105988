//! A lease as its session keeps it: what to ask of the bucket, and what an answer, or none, means.
//!
//! The session is the lease's one writer and asks one thing at a time. It never guesses: figures
//! change by answers alone, and an ask without an answer is simply asked again, for its sequence
//! tells whether it was applied.

use super::{Close, Closing, Lease, LeaseState, Take};

/// What a session knows of a lease. See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    seq: u64,
    taken: u64,
    settled: u64,
    /// Of what was taken, bytes that were handed out to be spent and not given up since.
    given: u64,
    /// A first take was sent: the lease may be there, whatever the answers said. An attempt that
    /// nobody waits for any more may still be under way.
    asked: bool,
    closing: bool,
    lost: bool,
}

/// A take, a settle or a giving back to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Bytes to take, or to give back; 0 only settles.
    pub bytes: u64,
    /// Bytes that moved so far.
    pub settled: u64,
    /// The sequence this follows.
    pub seq: u64,
}

/// What an answer means to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Session and bucket agree again.
    Agreed {
        /// Bytes that are new and may be spent, whichever attempt took them; those too that were given
        /// up and can no longer go back by an earlier ask. 0 while closing.
        got: u64,
        /// Bytes that nobody holds, if the answer told.
        available: Option<u64>,
    },
    /// Fewer bytes are available than asked for.
    Short {
        /// Bytes that nobody holds.
        available: u64,
    },
    /// Nothing more comes of this lease.
    Gone,
}

/// What is left to do before a lease may be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing: the bucket never gave, and cannot give any more.
    Nothing,
    /// A first take was sent and gave nothing, so the lease may be there all the same. Asking for
    /// nothing tells, and leaves no room for that first take to be applied after all.
    Learn,
    /// Close it with these figures.
    Close(Closing),
}

/// What an answer to a closing means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is closed.
    Done,
    /// An earlier ask was applied after all: close it again, with what is known now.
    Again,
    /// It was declared lost: its bytes stay charged.
    Lost,
    /// It cannot be closed: the figures do not fit.
    Refused,
}

impl Holding {
    /// A lease that is about to be taken for the first time.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The sequence of the last write that is known to have been applied; 0 before the first.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Bytes that the bucket gave, less those that went back to it.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Bytes that the bucket knows to have moved.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// Bytes that were handed out to be spent: all that was taken, but for what was given up, and
    /// for what came to light only while it was being closed.
    #[must_use]
    pub fn given(&self) -> u64 {
        self.given
    }

    /// Bytes that were given up and that the bucket still counts as taken, as far as is known.
    #[must_use]
    pub fn given_up(&self) -> u64 {
        if self.closing { 0 } else { self.taken.saturating_sub(self.given) }
    }

    /// Whether it is to be closed, and nothing may be spent from it any more.
    #[must_use]
    pub fn closing(&self) -> bool {
        self.closing
    }

    /// Whether it was declared lost: what moved and is not settled is never billed.
    #[must_use]
    pub fn lost(&self) -> bool {
        self.lost
    }

    /// Whether something moved, `moved` bytes in all, or was given up that the bucket does not know of.
    #[must_use]
    pub fn owes(&self, moved: u64) -> bool {
        !self.closing && self.seq > 0 && (moved > self.settled || self.given_up() > 0)
    }

    /// Asks for `bytes` more and settles at `moved` (cumulative). Nothing has moved before the
    /// first take.
    pub fn ask(&mut self, bytes: u64, moved: u64) -> Ask {
        self.asked = true;
        Ask { bytes, settled: if self.seq == 0 { 0 } else { moved }, seq: self.seq }
    }

    /// Gives up `bytes` of what was handed out. The caller has taken them out of its pool *before*:
    /// nobody spends them any more, until an answer hands them out again.
    pub fn give_up(&mut self, bytes: u64) {
        self.given = self.given.saturating_sub(bytes);
    }

    /// Asks to give back what was given up, and settles at `moved` (cumulative). If another ask is
    /// applied in its place, that one's answer hands it out again: of two that follow the same
    /// sequence the bucket does one.
    #[must_use]
    pub fn ask_back(&self, moved: u64) -> Ask {
        Ask { bytes: self.given_up(), settled: moved, seq: self.seq }
    }

    /// Takes in an answer to [`Self::ask`] or [`Self::ask_back`].
    pub fn hear(&mut self, answer: &Take) -> Heard {
        match answer {
            Take::Taken { lease, available } => self.agree(lease, Some(*available)),
            Take::Stale { lease } => self.agree(lease, None),
            Take::Exhausted { available } => Heard::Short { available: *available },
            Take::Lost | Take::NoLease | Take::NoBucket | Take::Overspent => {
                self.lost |= matches!(answer, Take::Lost);
                if self.seq == 0 {
                    // A lost lease stands in the way, or there is no bucket: no attempt can apply.
                    self.asked = false;
                }
                Heard::Gone
            }
        }
    }

    fn agree(&mut self, lease: &Lease, available: Option<u64>) -> Heard {
        let got = if self.closing { 0 } else { lease.taken.saturating_sub(self.given) };
        (self.seq, self.taken, self.settled) = (lease.seq, lease.taken, lease.settled);
        self.given += got;
        Heard::Agreed { got, available }
    }

    /// Spends no more of it. The caller gives up what is left *before* it asks to close.
    pub fn begin_closing(&mut self) {
        self.closing = true;
    }

    /// What to do next to end it, if `moved` bytes moved in all.
    #[must_use]
    pub fn ending(&self, moved: u64) -> Ending {
        match (self.seq, self.asked) {
            (0, false) => Ending::Nothing,
            (0, true) => Ending::Learn,
            (seq, _) => Ending::Close(Closing { taken: self.taken, settled: moved, doubt: 0, seq }),
        }
    }

    /// Takes in an answer to [`Ending::Close`].
    pub fn hear_close(&mut self, answer: Close) -> Ended {
        match answer {
            Close::Closed => Ended::Done,
            Close::Stale { seq, taken } => {
                (self.seq, self.taken) = (seq, taken);
                Ended::Again
            }
            Close::Lost => {
                self.lost = true;
                Ended::Lost
            }
            Close::Overspent => Ended::Refused,
        }
    }
}

impl Lease {
    /// How to close the lease of a life that crashed, if its journal counted `counted` bytes and
    /// left `doubt` in doubt. `None`: it was declared lost, its bytes stay charged.
    #[must_use]
    pub fn after_crash(&self, counted: u64, doubt: u64) -> Option<Closing> {
        if self.state == LeaseState::Lost {
            return None;
        }
        let settled = counted.max(self.settled).min(self.taken);
        Some(Closing { taken: self.taken, settled, doubt: doubt.min(self.taken - settled), seq: self.seq })
    }
}

/// Bytes that an operation may have moved uncounted: announced as up to `grant` above `base`,
/// where its counter says `counter`.
///
/// ```
/// use tollgate_domain::budget::in_doubt;
/// assert_eq!(in_doubt(100, 50, 100), 50); // the call may have been made
/// assert_eq!(in_doubt(100, 50, 130), 20); // it was made and counted, its announcement still stands
/// assert_eq!(in_doubt(100, 50, 150), 0);
/// ```
#[must_use]
pub fn in_doubt(base: u64, grant: u64, counter: u64) -> u64 {
    base.saturating_add(grant).saturating_sub(counter)
}
