//! Connections that have not said yet who they are, counted by source address: no source alone
//! takes the seats that customers need.
//!
//! Entries live as long as their connections, so there are never more than connections. A lock is
//! taken when a connection comes and when it is no stranger any more, never for its bytes.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::source::subscriber;

/// Parts with a lock each: workers seldom meet at one.
const PARTS: usize = 16;

type Part = HashMap<IpAddr, Crowd>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    parts: [Mutex<Part>; PARTS],
    /// Of its own, so that nobody can choose addresses that meet in one part.
    hasher: RandomState,
}

/// Those of one source.
#[derive(Debug, Default)]
struct Crowd {
    live: usize,
    /// One was turned away since the first of them came.
    full: bool,
}

/// One connection in the count, while this lives.
#[derive(Debug)]
pub(crate) struct Stranger {
    among: Arc<Strangers>,
    source: IpAddr,
}

/// There are too many of this source already.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany {
    /// Whether nobody was turned away before, as long as there are some.
    pub first: bool,
}

impl Strangers {
    /// Counts a connection from `peer`, of which `most` may be at a time; 0 = any number.
    ///
    /// # Errors
    /// [`TooMany`]; the connection is not counted then.
    pub fn enter(self: &Arc<Self>, peer: IpAddr, most: usize) -> Result<Stranger, TooMany> {
        let source = subscriber(peer);
        let mut part = self.part(source);
        let crowd = part.entry(source).or_default();
        if most > 0 && crowd.live >= most {
            return Err(TooMany { first: !std::mem::replace(&mut crowd.full, true) });
        }
        crowd.live += 1;
        Ok(Stranger { among: Arc::clone(self), source })
    }

    /// All of them.
    pub fn count(&self) -> usize {
        let sum = |part: &Mutex<Part>| lock(part).values().map(|c| c.live).sum::<usize>();
        self.parts.iter().map(sum).sum()
    }

    fn part(&self, source: IpAddr) -> MutexGuard<'_, Part> {
        let [byte, ..] = self.hasher.hash_one(source).to_be_bytes();
        lock(&self.parts[usize::from(byte) % PARTS])
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut part = self.among.part(self.source);
        let Some(crowd) = part.get_mut(&self.source) else { return };
        crowd.live = crowd.live.saturating_sub(1);
        if crowd.live == 0 {
            part.remove(&self.source);
        }
    }
}

fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_has_so_many_strangers_and_another_has_its_own() {
        let strangers = Arc::new(Strangers::default());
        let (a, b) = (ip("192.0.2.1"), ip("192.0.2.2"));
        let first = strangers.enter(a, 2).unwrap();
        let second = strangers.enter(a, 2).unwrap();
        // Told once, however many come.
        assert_eq!(strangers.enter(a, 2).unwrap_err(), TooMany { first: true });
        assert_eq!(strangers.enter(a, 2).unwrap_err(), TooMany { first: false });
        let other = strangers.enter(b, 2).unwrap();
        assert_eq!(strangers.count(), 3);
        drop(first);
        let third = strangers.enter(a, 2).unwrap();
        strangers.enter(a, 2).unwrap_err();
        drop((second, third, other));
        assert_eq!(strangers.count(), 0);
        assert!(strangers.parts.iter().all(|p| lock(p).is_empty()), "who is gone leaves nothing");
        let again = [strangers.enter(a, 2).unwrap(), strangers.enter(a, 2).unwrap()];
        assert_eq!(strangers.enter(a, 2).unwrap_err(), TooMany { first: true });
        drop(again);
    }

    #[test]
    fn a_v6_network_of_one_subscriber_is_one_source_and_a_mapped_address_is_the_v4_one() {
        let strangers = Arc::new(Strangers::default());
        let _one = strangers.enter(ip("2001:db8:1:2::1"), 1).unwrap();
        strangers.enter(ip("2001:db8:1:2:ffff::1"), 1).unwrap_err();
        let _two = strangers.enter(ip("2001:db8:1:3::1"), 1).unwrap();
        let _three = strangers.enter(ip("192.0.2.1"), 1).unwrap();
        strangers.enter(ip("::ffff:192.0.2.1"), 1).unwrap_err();
    }

    #[test]
    fn zero_is_no_limit_and_a_limit_set_later_counts_who_is_there() {
        let strangers = Arc::new(Strangers::default());
        let all: Vec<_> = (0..5000).map(|_| strangers.enter(ip("192.0.2.1"), 0).unwrap()).collect();
        assert_eq!(strangers.count(), 5000);
        strangers.enter(ip("192.0.2.1"), 5000).unwrap_err();
        drop(all);
        assert_eq!(strangers.count(), 0);
    }

    #[test]
    fn sources_that_come_and_go_leave_nothing_on_any_thread() {
        let strangers = Arc::new(Strangers::default());
        std::thread::scope(|s| {
            for n in 0..4u8 {
                let strangers = Arc::clone(&strangers);
                s.spawn(move || {
                    for i in 0..2000u16 {
                        let [a, b] = i.to_be_bytes();
                        let mine = strangers.enter(IpAddr::from([10, n % 2, a, b]), 2);
                        drop(mine.unwrap());
                    }
                });
            }
        });
        assert!(strangers.parts.iter().all(|p| lock(p).is_empty()));
    }
}
