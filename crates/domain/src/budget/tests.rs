use proptest::prelude::*;

use super::*;

fn who(n: u8) -> EdgeSession {
    EdgeSession { edge: format!("e{n}").parse().unwrap(), epoch: 1 }
}

#[derive(Clone, Debug)]
enum Op {
    Take(u8, u64, u64, u64),
    Close(u8, u64, u64, u64),
    Lose(u8),
    Grant(u64),
    Withdraw(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0u8..3, 0u64..400, 0u64..400, 0u64..4).prop_map(|(w, n, s, k)| Op::Take(w, n, s, k)),
        2 => (0u8..3, 0u64..400, 0u64..100, 0u64..4).prop_map(|(w, s, d, k)| Op::Close(w, s, d, k)),
        1 => (0u8..3).prop_map(Op::Lose),
        1 => prop_oneof![0u64..500, Just(u64::MAX)].prop_map(Op::Grant),
        1 => (0u64..500).prop_map(Op::Withdraw),
    ]
}

fn apply(a: &mut Allowance, op: &Op) -> Result<(), BudgetRefusal> {
    match *op {
        Op::Take(w, n, s, k) => a.take(&who(w), n, s, k),
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
