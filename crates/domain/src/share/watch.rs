//! Which lives of edges are silent, as one observer timed it on its own clock. No clock of the
//! one that is watched is looked at: its sign of life changes, or it does not.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::EdgeSession;

/// What an observer saw of others. `S` is a sign of life: it differs after each heartbeat.
#[derive(Clone, Debug)]
pub struct Watch<S> {
    seen: BTreeMap<EdgeSession, Look<S>>,
}

/// The same sign from `since` to `last`, at least.
#[derive(Clone, Debug)]
struct Look<S> {
    sign: S,
    since: Duration,
    last: Duration,
}

impl<S> Default for Watch<S> {
    fn default() -> Self {
        Self { seen: BTreeMap::new() }
    }
}

impl<S: Clone + PartialEq> Watch<S> {
    /// Notes the sign that was `asked` for and `answered` at these times of a monotonic clock.
    pub fn look(&mut self, who: &EdgeSession, sign: S, asked: Duration, answered: Duration) {
        match self.seen.get_mut(who) {
            // It was the same when it was asked for, at the latest.
            Some(look) if look.sign == sign => look.last = look.last.max(asked),
            _ => {
                self.seen.insert(who.clone(), Look { sign, since: answered, last: answered });
            }
        }
    }

    /// Who was seen to stay silent for `after`, and the sign that did not change.
    #[must_use]
    pub fn silent(&self, after: Duration) -> Vec<(EdgeSession, S)> {
        let silent = self.seen.iter().filter(|(_, l)| l.last.saturating_sub(l.since) >= after);
        silent.map(|(who, l)| (who.clone(), l.sign.clone())).collect()
    }

    /// Forgets whom `keep` does not name.
    pub fn retain(&mut self, keep: impl Fn(&EdgeSession) -> bool) {
        self.seen.retain(|who, _| keep(who));
    }

    /// Forgets all that was seen: the observer itself could not look, so nobody was silent.
    pub fn restart(&mut self) {
        self.seen.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn only_a_sign_that_was_seen_unchanged_for_long_enough_is_silence() {
        let who: EdgeSession = "e1.1".parse().unwrap();
        let mut watch = Watch::default();
        watch.look(&who, 7, s(100), s(103));
        assert!(watch.silent(s(15)).is_empty());
        // Slow answers are not held against it: from 103 to 117 it is 14 seconds.
        watch.look(&who, 7, s(117), s(130));
        assert!(watch.silent(s(15)).is_empty());
        watch.look(&who, 7, s(118), s(131));
        assert_eq!(watch.silent(s(15)), [(who.clone(), 7)]);
        // Another sign is life, also a smaller one.
        watch.look(&who, 6, s(119), s(119));
        assert!(watch.silent(s(15)).is_empty());
        watch.look(&who, 6, s(140), s(140));
        assert_eq!(watch.silent(s(15)), [(who.clone(), 6)]);
        watch.restart();
        assert!(watch.silent(s(0)).is_empty());
        watch.look(&who, 6, s(141), s(141));
        watch.retain(|w| *w != who);
        assert!(watch.silent(s(0)).is_empty());
    }
}
