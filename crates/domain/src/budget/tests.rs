use proptest::prelude::*;

use super::*;

mod rebalance;

fn who(n: u8) -> EdgeSession {
    EdgeSession { edge: format!("e{n}").parse().unwrap(), epoch: 1 }
}

#[derive(Clone, Debug)]
enum Op {
    Take(u8, u64, u64, u64),
    GiveBack(u8, u64, u64, u64),
    Close(u8, u64, u64, u64),
    Lose(u8),
    Grant(u64),
    Withdraw(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0u8..3, 0u64..400, 0u64..400, 0u64..4).prop_map(|(w, n, s, k)| Op::Take(w, n, s, k)),
        3 => (0u8..3, 0u64..300, 0u64..300, 0u64..4).prop_map(|(w, n, s, k)| Op::GiveBack(w, n, s, k)),
        2 => (0u8..3, 0u64..400, 0u64..100, 0u64..4).prop_map(|(w, s, d, k)| Op::Close(w, s, d, k)),
        1 => (0u8..3).prop_map(Op::Lose),
        1 => prop_oneof![0u64..500, Just(u64::MAX)].prop_map(Op::Grant),
        1 => (0u64..500).prop_map(Op::Withdraw),
    ]
}

fn apply(a: &mut Allowance, op: &Op) -> Result<(), BudgetRefusal> {
    match *op {
        Op::Take(w, n, s, k) => a.take(&who(w), n, s, k),
        Op::GiveBack(w, n, s, k) => a.give_back(&who(w), n, s, k),
        Op::Close(w, s, d, k) => a.close(&who(w), s, d, k),
        Op::Lose(w) => a.lose(&who(w)),
        Op::Grant(n) => a.grant(n),
        Op::Withdraw(n) => {
            a.withdraw(n);
            Ok(())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever is asked in whatever order, the bucket balances, and a refusal changes nothing.
    #[test]
    fn every_history_balances(ops in prop::collection::vec(op(), 1..60)) {
        let mut a = Allowance::new(1000, 1, Timestamp::from_millis(0), Timestamp::from_millis(10));
        for op in &ops {
            let before = a.clone();
            let result = apply(&mut a, op);
            prop_assert!(a.is_sound(), "{op:?} broke {before:?}");
            if result.is_err() {
                prop_assert_eq!(&a, &before, "{:?} was refused and changed something", op);
            }
            prop_assert!(a.used() <= a.granted);
        }
    }

    /// A take that is sent again after a lost acknowledgement is recognised by its sequence.
    #[test]
    fn a_repeated_take_is_never_applied_twice(n in 1u64..500, m in 1u64..500) {
        let mut a = Allowance::new(1000, 1, Timestamp::from_millis(0), Timestamp::from_millis(10));
        a.take(&who(1), n, 0, 0).unwrap();
        let once = a.clone();
        let again = a.take(&who(1), n.min(a.available), 0, 0);
        prop_assert_eq!(again, Err(BudgetRefusal::Stale { actual: 1 }));
        prop_assert_eq!(&a, &once);
        let _ = a.take(&who(1), m, n / 2, 1);
        prop_assert!(a.is_sound());
    }
}

#[test]
fn a_lost_lease_takes_nothing_and_stays_charged() {
    let mut a = Allowance::new(1000, 1, Timestamp::from_millis(0), Timestamp::from_millis(10));
    a.take(&who(1), 300, 0, 0).unwrap();
    a.take(&who(1), 0, 100, 1).unwrap();
    a.lose(&who(1)).unwrap();
    assert_eq!(a.take(&who(1), 1, 100, 3), Err(BudgetRefusal::Lost));
    assert_eq!(a.close(&who(1), 100, 0, 3), Err(BudgetRefusal::Lost));
    assert_eq!((a.used(), a.available), (300, 700));
    a.lose(&who(1)).unwrap();
    assert_eq!(a.lose(&who(2)), Err(BudgetRefusal::NoLease));
}

#[test]
fn closing_returns_the_rest() {
    let mut a = Allowance::new(1000, 1, Timestamp::from_millis(5), Timestamp::from_millis(10));
    assert!(!a.spendable(Timestamp::from_millis(4)) && a.spendable(Timestamp::from_millis(5)));
    assert!(!a.spendable(Timestamp::from_millis(10)));
    a.take(&who(1), 300, 0, 0).unwrap();
    assert_eq!(a.close(&who(1), 200, 101, 1), Err(BudgetRefusal::Overspent));
    a.close(&who(1), 200, 10, 1).unwrap();
    assert_eq!((a.available, a.folded, a.leases.len()), (790, 210, 0));
    assert_eq!(a.close(&who(1), 200, 10, 1), Err(BudgetRefusal::NoLease));
    assert_eq!(a.take(&who(1), 1, 200, 1), Err(BudgetRefusal::NoLease));
}

#[test]
fn buckets_sort_in_the_order_of_spending_and_round_trip() {
    let t = Timestamp::from_millis;
    let all = [
        Bucket::Pack { expires: t(5), pack: "b".into() },
        Bucket::Pack { expires: t(50), pack: "a".into() },
        Bucket::Plan { start: t(7) },
        Bucket::Unlimited { start: t(7) },
    ];
    for b in &all {
        assert_eq!(&b.to_string().parse::<Bucket>().unwrap(), b);
    }
    assert!(all[0].to_string() < all[1].to_string());
    for bad in ["", "P", "P#x", "K#5", "X#5"] {
        assert!(bad.parse::<Bucket>().is_err(), "{bad}");
    }
    let json = serde_json::to_string(&all[0]).unwrap();
    assert_eq!(json, "\"K#000000000000005#b\"");
    assert_eq!(serde_json::from_str::<Bucket>(&json).unwrap(), all[0]);
}

/// A bucket and a session that has taken `n` bytes of it.
fn held(n: u64) -> (Allowance, Holding) {
    let mut a = Allowance::new(1000, 1, Timestamp::from_millis(0), Timestamp::from_millis(10));
    let mut h = Holding::new();
    assert_eq!(say(&mut a, &mut h, n, 0), Heard::Agreed { got: n, available: Some(1000 - n) });
    (a, h)
}

/// Asks, and takes in the answer.
fn say(a: &mut Allowance, h: &mut Holding, bytes: u64, moved: u64) -> Heard {
    let ask = h.ask(bytes, moved);
    let answer = answer(a, ask);
    h.hear(&answer)
}

fn answer(a: &mut Allowance, ask: Ask) -> Take {
    match a.take(&who(1), ask.bytes, ask.settled, ask.seq) {
        Ok(()) => Take::Taken { lease: a.leases[&who(1)].clone(), available: a.available },
        Err(_) => a.refused_take(&who(1), ask.bytes, ask.settled, ask.seq),
    }
}

#[test]
fn a_session_learns_what_its_lost_takes_did() {
    let (mut a, mut h) = held(300);
    // Applied, and nobody heard of it; what is asked for next is another sum.
    let ask = h.ask(100, 250);
    let _ = answer(&mut a, ask);
    assert_eq!(say(&mut a, &mut h, 50, 270), Heard::Agreed { got: 100, available: None });
    assert_eq!((h.seq(), h.taken(), h.settled(), h.given()), (2, 400, 250, 400));
    assert!(h.owes(251) && !h.owes(250));
    assert_eq!(say(&mut a, &mut h, 0, 270), Heard::Agreed { got: 0, available: Some(600) });
    assert_eq!(say(&mut a, &mut h, 601, 270), Heard::Short { available: 600 });
    a.lose(&who(1)).unwrap();
    assert_eq!(say(&mut a, &mut h, 1, 270), Heard::Gone);
    assert_eq!(
        h.hear_close(a.refused_close(&who(1), Closing { taken: 400, settled: 270, doubt: 0, seq: 3 })),
        Ended::Lost
    );
}

#[test]
fn a_first_take_without_an_answer_is_found_before_its_lease_is_forgotten() {
    let (mut a, _) = held(300);
    let mut h = Holding::new();
    assert_eq!(h.ending(0), Ending::Nothing);
    let _ = h.ask(300, 0);
    h.begin_closing();
    assert_eq!(h.ending(0), Ending::Learn);
    // What comes to light while closing is not spent.
    assert_eq!(say(&mut a, &mut h, 0, 0), Heard::Agreed { got: 0, available: Some(700) });
    assert_eq!((h.taken(), h.given()), (300, 0));
    assert_eq!(h.ending(0), Ending::Close(Closing { taken: 300, settled: 0, doubt: 0, seq: 1 }));

    // Where nothing can be taken, nothing is left to be learnt.
    let mut h = Holding::new();
    let _ = h.ask(1, 0);
    let _ = h.ask(1, 0);
    assert_eq!(h.hear(&Take::Exhausted { available: 0 }), Heard::Short { available: 0 });
    assert_eq!(h.ending(0), Ending::Learn);
    assert_eq!(h.hear(&Take::NoBucket), Heard::Gone);
    assert_eq!(h.ending(0), Ending::Nothing);
}

#[test]
fn a_closing_finds_a_take_that_it_did_not_know_of() {
    let (mut a, mut h) = held(300);
    let ask = h.ask(100, 200);
    let _ = answer(&mut a, ask);
    h.begin_closing();
    assert!(!h.owes(1000));
    let close = |a: &mut Allowance, h: &mut Holding| {
        let Ending::Close(last) = h.ending(220) else { panic!("{h:?}") };
        let fits = a.leases.get(&who(1)).is_some_and(|l| l.taken == last.taken);
        let closed = fits && a.close(&who(1), last.settled, last.doubt, last.seq).is_ok();
        h.hear_close(if closed { Close::Closed } else { a.refused_close(&who(1), last) })
    };
    assert_eq!(close(&mut a, &mut h), Ended::Again);
    assert_eq!(close(&mut a, &mut h), Ended::Done);
    assert_eq!(close(&mut a, &mut h), Ended::Done, "closed before");
    assert_eq!((a.available, a.folded), (780, 220));
}

#[test]
fn a_crash_leaves_at_most_what_was_taken() {
    let (a, _) = held(300);
    let lease = &a.leases[&who(1)];
    let last = |settled, doubt| Some(Closing { taken: 300, settled, doubt, seq: 1 });
    assert_eq!(lease.after_crash(200, 50), last(200, 50));
    assert_eq!(lease.after_crash(280, 50), last(280, 20));
    assert_eq!(lease.after_crash(400, 50), last(300, 0));
    let settled = Lease { settled: 100, ..lease.clone() };
    assert_eq!(settled.after_crash(0, 0), last(100, 0), "a journal may be older than the store");
    assert_eq!(Lease { state: LeaseState::Lost, ..lease.clone() }.after_crash(200, 0), None);
    assert_eq!(Closing { taken: 1, settled: u64::MAX, doubt: 1, seq: 1 }.used(), None);
}
