//! Which entries of the feed were applied: by id, and by the highest version of each entity.

use std::collections::{HashMap, HashSet};

use tollgate_domain::feed::{Change, Entity};
use tollgate_domain::time::Timestamp;

/// See the module.
#[derive(Default)]
pub(super) struct Seen {
    ids: HashMap<String, Entity>,
    versions: HashMap<Entity, u64>,
}

impl Seen {
    pub fn is_new(&mut self, id: &str, change: &Change) -> bool {
        if self.ids.contains_key(id) {
            return false;
        }
        self.ids.insert(id.to_owned(), change.entity.clone());
        if matches!(change.entity, Entity::Allowance(_) | Entity::BytesWanted { .. } | Entity::Command(_)) {
            // Grants have no version of their own; reading buckets again harms nothing. Commands and
            // wants are each their own.
            return true;
        }
        let higher = self.versions.get(&change.entity).is_none_or(|v| change.version > *v);
        if higher {
            self.versions.insert(change.entity.clone(), change.version);
        }
        higher
    }

    pub fn forget(&mut self, id: &str, change: &Change) {
        self.ids.remove(id);
        self.versions.remove(&change.entity);
    }

    /// Forgets entries that no window reaches any more, and entities nobody names.
    pub fn trim(&mut self, before: Timestamp) {
        // A ULID begins with its time: ten digits of base 32, in the order of time.
        let oldest = ulid_start(before);
        self.ids.retain(|id, _| id.as_str() >= oldest.as_str());
        let named: HashSet<&Entity> = self.ids.values().collect();
        self.versions.retain(|e, _| named.contains(e));
    }
}

/// The digits of ULIDs, five bits each.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Digits of the time that a ULID begins with.
const TIME: usize = 10;

/// The first ten characters of ULIDs made at `t`.
fn ulid_start(t: Timestamp) -> String {
    let digit = |n: usize| char::from(DIGITS[usize::try_from(t.as_millis() >> (5 * n) & 31).unwrap_or(0)]);
    (0..TIME).rev().map(digit).collect()
}

/// When an entry was written, as its ULID says; none if it is no ULID.
pub(super) fn written_at(id: &str) -> Option<Timestamp> {
    let digit = |b: &u8| DIGITS.iter().position(|d| d == b).map(|n| n as u64);
    let time = id.as_bytes().get(..TIME)?;
    let ms = time.iter().try_fold(0u64, |ms, b| digit(b).map(|n| ms << 5 | n))?;
    Some(Timestamp::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use tollgate_domain::budget::Bucket;
    use tollgate_domain::feed::Command;

    use super::*;

    #[test]
    fn an_entry_is_applied_once_and_only_if_its_version_is_higher() {
        let mut seen = Seen::default();
        let change = |version| Change { entity: Entity::Customer("demo".parse().unwrap()), version };
        assert!(seen.is_new("01A", &change(2)));
        assert!(!seen.is_new("01A", &change(2)));
        assert!(!seen.is_new("01B", &change(1)));
        assert!(seen.is_new("01C", &change(3)));
        seen.forget("01C", &change(3));
        assert!(seen.is_new("01C", &change(3)));
    }

    #[test]
    fn every_command_is_one_whatever_its_version() {
        let mut seen = Seen::default();
        let at = Timestamp::from_secs(1_700_000_000);
        let change = Change { entity: Entity::Command(Command::RotateLogs { at }), version: 0 };
        assert!(seen.is_new("01A", &change));
        assert!(!seen.is_new("01A", &change));
        assert!(seen.is_new("01B", &change));
    }

    #[test]
    fn every_want_of_bytes_is_one_whatever_its_version() {
        let mut seen = Seen::default();
        let bucket = Bucket::Plan { start: Timestamp::from_secs(0) };
        let entity = Entity::BytesWanted { customer: "demo".parse().unwrap(), bucket, by: "e1.1".parse().unwrap() };
        let change = Change { entity, version: 0 };
        assert!(seen.is_new("01A", &change) && !seen.is_new("01A", &change) && seen.is_new("01B", &change));
    }

    #[test]
    fn an_entry_says_when_it_was_written() {
        let at = Timestamp::from_millis(1_709_208_000_123);
        assert_eq!(written_at(&format!("{}0123456789ABCDEF", ulid_start(at))), Some(at));
        assert_eq!(written_at("7ZZZZZZZZZ0000000000000000"), Some(Timestamp::from_millis((1 << 48) - 1)));
        assert_eq!((written_at("01A"), written_at("abcdefghijklm"), written_at("LOUI456789")), (None, None, None));
    }

    #[test]
    fn old_entries_are_forgotten() {
        let mut seen = Seen::default();
        let id = |s| format!("{}0000000000000000", ulid_start(Timestamp::from_secs(s)));
        let change = Change { entity: Entity::Customer("demo".parse().unwrap()), version: 1 };
        assert!(seen.is_new(&id(1_700_000_000), &change));
        seen.trim(Timestamp::from_secs(1_700_000_000));
        assert_eq!(seen.ids.len(), 1);
        seen.trim(Timestamp::from_secs(1_700_000_001));
        assert!(seen.ids.is_empty() && seen.versions.is_empty());
    }
}
