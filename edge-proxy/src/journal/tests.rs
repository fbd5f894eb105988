use proptest::prelude::*;
use tempfile::TempDir;
use tollgate_domain::id::{EdgeId, EdgeSession};

use super::*;

const SLOTS: (usize, usize, usize) = (2, 4, 8);

fn session() -> EdgeSession {
    EdgeSession { edge: edge(), epoch: 1 }
}

fn edge() -> EdgeId {
    "edge1".parse().unwrap()
}

fn at(s: u64) -> Timestamp {
    Timestamp::from_secs(s)
}

fn bucket() -> Bucket {
    Bucket::Plan { start: at(0) }
}

struct Place {
    dir: TempDir,
    journal: Option<Journal>,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let journal = Journal::create(dir.path(), &session(), SLOTS, at(100)).unwrap();
        Self { dir, journal: Some(journal) }
    }

    fn journal(&self) -> &Journal {
        self.journal.as_ref().unwrap()
    }

    fn lease(&self) -> usize {
        self.journal().open_lease(&"demo".parse().unwrap(), &bucket()).unwrap()
    }

    fn usage(&self, lease: usize, worker: usize) -> usize {
        let (line, proxy) = ("chip1".parse().unwrap(), "brd/203.0.113.7".parse().unwrap());
        self.journal().open_usage(lease, worker, &line, &proxy, (at(101), 0)).unwrap()
    }

    /// What is on the disk after a checkpoint.
    fn disk(&self) -> Vec<u8> {
        self.journal().checkpoint(at(102)).unwrap();
        std::fs::read(&self.journal().path).unwrap()
    }

    /// The power is lost: the next process finds what was on the disk then.
    fn lose_power(&mut self, disk: &[u8]) -> Remains {
        let path = self.journal().path.clone();
        self.journal = None;
        std::fs::write(path, disk).unwrap();
        self.crash()
    }

    /// The process ends here; the next one reads.
    fn crash(&mut self) -> Remains {
        self.journal = None;
        let mut found = earlier(self.dir.path(), &edge()).unwrap();
        assert_eq!(found.len(), 1);
        found.remove(0)
    }
}

#[test]
fn what_was_counted_is_read_back_whole() {
    let mut p = Place::new();
    let lease = p.lease();
    let (a, b) = (p.usage(lease, 0), p.usage(lease, 1));
    p.journal().count_connection(a);
    p.journal().operate(0, a, Direction::Ingress, 100, || (30, ()));
    p.journal().operate(0, a, Direction::Egress, 100, || (100, ()));
    p.journal().operate(1, b, Direction::Egress, 100, || (0, ()));
    p.journal().checkpoint(at(107)).unwrap();
    let remains = p.crash();
    assert_eq!((remains.session.clone(), remains.created, remains.alive), (session(), at(100), at(107)));
    let [left] = &remains.leases[..] else { panic!("{remains:?}") };
    assert_eq!((left.settled(), left.doubt, left.folded), (130, 0, 0));
    assert_eq!(left.usages[0].counters, Counters { ingress: 30, egress: 100, connections: 1 });
    assert_eq!(left.usages[0].since, at(101));
    assert_eq!(left.usages[0].proxy.to_string(), "brd/203.0.113.7");
    remains.delete().unwrap();
    assert!(earlier(p.dir.path(), &edge()).unwrap().is_empty());
}

#[test]
fn an_operation_cut_short_is_in_doubt_by_its_grant_at_most() {
    let mut p = Place::new();
    let lease = p.lease();
    let usage = p.usage(lease, 1);
    p.journal().operate(1, usage, Direction::Egress, 50, || (50, ()));
    // Dies inside the system call: what it moved is known to nobody.
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        p.journal().operate(1, usage, Direction::Egress, 64, || -> (u64, ()) { panic!("killed") });
    }));
    assert!(died.is_err());
    let remains = p.crash();
    assert_eq!((remains.leases[0].settled(), remains.leases[0].doubt), (50, 64));
}

#[test]
fn a_finished_counter_folds_into_its_lease_at_every_instant() {
    // The fold's words, one at a time: wherever the process ends, the sum is the same.
    use super::layout::{header, redo};
    for cut in 0..5 {
        let mut p = Place::new();
        let lease = p.lease();
        let (a, b) = (p.usage(lease, 0), p.usage(lease, 1));
        p.journal().operate(0, a, Direction::Ingress, 70, || (70, ()));
        p.journal().operate(1, b, Direction::Ingress, 7, || (7, ()));
        let j = p.journal();
        let folded = j.layout.lease(lease) + layout::lease::FOLDED;
        let used = j.layout.usage(a) + layout::usage::USED;
        let steps: [(usize, u64); 4] =
            [(header::REDO + redo::VALID, 1), (folded, 70), (used, 0), (header::REDO + redo::VALID, 0)];
        j.store(header::REDO + redo::LEASE, lease as u64);
        j.store(header::REDO + redo::USAGE, a as u64);
        j.store(header::REDO + redo::FOLDED, 70);
        for (word, value) in &steps[..cut] {
            j.store(*word, *value);
        }
        assert_eq!(p.crash().leases[0].settled(), 77, "cut after {cut}");
    }
    let p = Place::new();
    let lease = p.lease();
    let usage = p.usage(lease, 0);
    p.journal().operate(0, usage, Direction::Ingress, 70, || (70, ()));
    p.journal().fold_usage(usage, lease);
    assert_eq!((p.journal().folded(lease), p.journal().depth()), (70, (1, 0)));
    p.journal().free_lease(lease);
    assert_eq!(p.journal().depth(), (0, 0));
}

#[test]
fn what_a_daily_row_includes_is_known_whether_its_write_arrived_or_not() {
    let mut p = Place::new();
    let lease = p.lease();
    let usage = p.usage(lease, 0);
    let count = |n| p.journal().operate(0, usage, Direction::Ingress, n, || (n, ()));
    count(10);
    p.journal().sending(usage, 1, p.journal().counters(usage));
    count(5);
    p.journal().sending(usage, 2, p.journal().counters(usage));
    count(1);
    let remains = p.crash();
    let left = &remains.leases[0].usages[0];
    assert_eq!(left.recorded(1).ingress, 10);
    assert_eq!(left.recorded(2).ingress, 15);
    assert_eq!(left.counters.since(left.recorded(2)).ingress, 1);
    // Recovery's own write, and a second recovery after the first one's crash.
    remains.sending(left, 1, 2);
    drop(remains);
    let again = p.crash();
    let left = &again.leases[0].usages[0];
    assert_eq!((left.recorded(1).ingress, left.recorded(2).ingress), (10, 16));
}

#[test]
fn rows_that_are_younger_than_the_journal_include_all_that_it_counted() {
    let mut p = Place::new();
    let lease = p.lease();
    let (busy, quiet) = (p.usage(lease, 0), p.usage(lease, 1));
    let j = p.journal();
    let count = |worker, slot, n| j.operate(worker, slot, Direction::Ingress, n, || (n, ())).0;
    count(0, busy, 10);
    j.sending(busy, 5, j.counters(busy));
    j.nothing_new(quiet, 5);
    // Opened after that collection.
    let (line, proxy) = ("chip2".parse().unwrap(), "brd/203.0.113.7".parse().unwrap());
    let late = j.open_usage(lease, 0, &line, &proxy, (at(101), 5)).unwrap();
    count(0, busy, 3);
    count(1, quiet, 4);
    count(0, late, 2);
    let disk = p.disk();
    let j = p.journal();
    for slot in [busy, quiet, late] {
        j.sending(slot, 6, j.counters(slot));
    }
    j.operate(0, busy, Direction::Ingress, 1, || (1, ()));
    let remains = p.lose_power(&disk);
    let left = &remains.leases[0];
    assert_eq!((left.settled(), left.doubt), (19, 0));
    let missing = |stored| left.usages.iter().map(|u| u.counters.since(u.recorded(stored)).ingress).collect::<Vec<_>>();
    // The write of the sixth collection arrived, or it did not.
    assert_eq!(missing(6), [0, 0, 0]);
    assert_eq!(missing(5), [3, 4, 2]);
    // Recovery writes; whether that arrives or not, a second recovery adds the same once.
    for usage in &left.usages {
        remains.sending(usage, 6, 7);
    }
    drop(remains);
    let again = p.crash();
    let missing =
        |stored| again.leases[0].usages.iter().map(|u| u.counters.since(u.recorded(stored)).ingress).sum::<u64>();
    assert_eq!((missing(6), missing(7)), (0, 0));
}

#[test]
fn a_slot_that_was_never_told_a_sequence_is_read_as_before() {
    let mut p = Place::new();
    let lease = p.lease();
    let usage = p.usage(lease, 0);
    p.journal().operate(0, usage, Direction::Ingress, 9, || (9, ()));
    let word = p.journal().layout.usage(usage) + layout::usage::SEEN_SEQ;
    p.journal().store(word, 0);
    let remains = p.crash();
    let left = &remains.leases[0].usages[0];
    assert_eq!(left.counters.since(left.recorded(0)).ingress, 9);
    assert_eq!(left.recorded(5), Counters::default());
}

#[test]
fn a_journal_in_use_is_left_alone_and_an_unfinished_one_goes() {
    let p = Place::new();
    assert!(earlier(p.dir.path(), &edge()).unwrap().is_empty());
    let unfinished = p.dir.path().join("journal-edge1-9.tgj-new");
    std::fs::write(&unfinished, "").unwrap();
    std::fs::write(p.dir.path().join("notes.txt"), "").unwrap();
    assert!(earlier(p.dir.path(), &edge()).unwrap().is_empty());
    assert!(!unfinished.exists());
    assert!(p.dir.path().join("notes.txt").exists());
}

#[test]
fn slots_run_out_and_come_back() {
    let p = Place::new();
    let leases: Vec<_> = (0..4).map(|_| p.lease()).collect();
    let customer = "demo".parse().unwrap();
    assert_eq!(p.journal().open_lease(&customer, &bucket()), None);
    p.journal().free_lease(leases[2]);
    assert_eq!(p.journal().open_lease(&customer, &bucket()), Some(leases[2]));
    p.journal().free_lease(leases[2]);
    let long = Bucket::Pack { expires: at(1), pack: "p".repeat(200) };
    assert_eq!(p.journal().open_lease(&customer, &long), None, "a name that does not fit takes no slot");
    assert_eq!(p.journal().depth().0, 3);
}

#[test]
fn a_slot_that_does_not_add_up_is_refused() {
    let mut p = Place::new();
    let lease = p.lease();
    p.usage(lease, 0);
    let word = p.journal().layout.usage(0) + layout::usage::LINE;
    p.journal().store(word + 1, 99);
    p.journal = None;
    let refused = earlier(p.dir.path(), &edge()).unwrap_err();
    assert!(matches!(&refused, JournalError::Broken { why, .. } if why.contains("usage slot")), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_operations_are_read_back_as_counted(
        ops in prop::collection::vec((0usize..4, any::<bool>(), 1u64..100_000, 0u64..100_000), 1..60),
    ) {
        let mut p = Place::new();
        let lease = p.lease();
        let slots: Vec<_> = (0..4).map(|n| p.usage(lease, n % 2)).collect();
        let mut sum = 0;
        for (n, ingress, grant, moved) in ops {
            let way = if ingress { Direction::Ingress } else { Direction::Egress };
            let (counted, ()) = p.journal().operate(n % 2, slots[n], way, grant, || (moved.min(grant), ()));
            sum += counted;
        }
        let remains = p.crash();
        prop_assert_eq!((remains.leases[0].settled(), remains.leases[0].doubt), (sum, 0));
    }
}
