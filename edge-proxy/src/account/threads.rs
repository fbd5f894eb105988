//! Tunnels of a customer, and how many there may be, in one atomic word: none is ever counted
//! against a limit that no longer holds, so what is open is known when a limit is lowered.

use std::sync::atomic::{AtomicU64, Ordering};

/// See the module. The limit in the upper half; below it [`CLOSED`] and the count.
#[derive(Debug, Default)]
pub(super) struct Threads(AtomicU64);

/// Set for good where nobody may enter any more.
const CLOSED: u64 = 1 << 31;
const COUNT: u64 = CLOSED - 1;

/// Why a thread cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// Nobody may enter any more.
    Closed,
    /// As many as may be are there, or more since the limit was lowered.
    Taken { taken: u32, limit: u32 },
}

fn low(word: u64) -> u32 {
    u32::try_from(word & COUNT).unwrap_or(u32::MAX)
}

fn high(word: u64) -> u32 {
    u32::try_from(word >> 32).unwrap_or(u32::MAX)
}

impl Threads {
    /// One more, within the limit.
    pub fn take(&self) -> Result<(), Full> {
        let more = |word: u64| (word & CLOSED == 0 && low(word) < high(word)).then(|| word + 1);
        match self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, more) {
            Ok(_) => Ok(()),
            Err(word) if word & CLOSED != 0 => Err(Full::Closed),
            Err(word) => Err(Full::Taken { taken: low(word), limit: high(word) }),
        }
    }

    /// One less. Only for who took one.
    pub fn leave(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }

    /// At most so many from now on; those that are there stay. `u32::MAX` = unlimited.
    pub fn set_limit(&self, limit: u32) {
        let set = |word: u64| Some(u64::from(limit) << 32 | (word & (CLOSED | COUNT)));
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, set);
    }

    /// The limit, or those that are there if they are more.
    pub fn kept(&self) -> u32 {
        let word = self.0.load(Ordering::Acquire);
        low(word).max(high(word))
    }

    pub fn taken(&self) -> u32 {
        low(self.0.load(Ordering::Acquire))
    }

    pub fn closed(&self) -> bool {
        self.0.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Closes for good, if nobody is there. Returns whether this did it.
    pub fn close(&self) -> bool {
        let close = |word: u64| (word & (CLOSED | COUNT) == 0).then_some(word | CLOSED);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, close).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_taken_up_to_the_limit_and_kept_when_it_falls() {
        let threads = Threads::default();
        assert_eq!(threads.take(), Err(Full::Taken { taken: 0, limit: 0 }));
        threads.set_limit(2);
        assert_eq!((threads.take(), threads.take()), (Ok(()), Ok(())));
        assert_eq!(threads.take(), Err(Full::Taken { taken: 2, limit: 2 }));
        threads.set_limit(1);
        assert_eq!((threads.taken(), threads.kept()), (2, 2));
        threads.leave();
        assert_eq!(threads.take(), Err(Full::Taken { taken: 1, limit: 1 }));
        threads.set_limit(u32::MAX);
        assert_eq!((threads.take(), threads.kept()), (Ok(()), u32::MAX));
    }

    #[test]
    fn only_empty_ones_close_and_they_stay_closed() {
        let threads = Threads::default();
        threads.set_limit(1);
        threads.take().unwrap();
        assert!(!threads.close() && !threads.closed());
        threads.leave();
        assert!(threads.close() && threads.closed() && !threads.close());
        threads.set_limit(5);
        assert_eq!((threads.take(), threads.taken()), (Err(Full::Closed), 0));
    }

    #[test]
    fn a_limit_that_falls_while_many_enter_is_never_passed() {
        let threads = Threads::default();
        threads.set_limit(1000);
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| while threads.take().is_ok() {});
            }
            threads.set_limit(10);
            let kept = threads.kept();
            for _ in 0..1000 {
                assert!(threads.taken() <= kept);
            }
        });
    }
}
