//! What is given back, heard of and not.

use super::*;

/// Gives up `bytes`, which the caller's pool has no more, and asks to give them back.
fn return_some(h: &mut Holding, bytes: u64, moved: u64) -> Ask {
    h.give_up(bytes);
    h.ask_back(moved)
}

fn answer_back(a: &mut Allowance, ask: Ask) -> Take {
    match a.give_back(&who(1), ask.bytes, ask.settled, ask.seq) {
        Ok(()) => Take::Taken { lease: a.leases[&who(1)].clone(), available: a.available },
        Err(_) => a.refused_take(&who(1), 0, ask.settled, ask.seq),
    }
}

#[test]
fn what_a_lease_does_not_use_goes_back_to_the_byte_and_no_further() {
    let (mut a, _) = held(300);
    assert_eq!(a.give_back(&who(1), 201, 100, 1), Err(BudgetRefusal::Overspent));
    assert_eq!(a.give_back(&who(1), u64::MAX, 100, 1), Err(BudgetRefusal::Overspent));
    a.give_back(&who(1), 200, 100, 1).unwrap();
    assert_eq!((a.available, a.leases[&who(1)].taken, a.leases[&who(1)].settled), (900, 100, 100));
    assert_eq!(a.give_back(&who(1), 0, 99, 2), Err(BudgetRefusal::Overspent), "settled bytes do not fall");
    assert_eq!(a.give_back(&who(1), 0, 100, 1), Err(BudgetRefusal::Stale { actual: 2 }));
    assert_eq!(a.give_back(&who(2), 0, 0, 1), Err(BudgetRefusal::NoLease));
    a.take(&who(2), 900, 0, 0).unwrap();
    assert_eq!(a.take(&who(3), 1, 0, 0), Err(BudgetRefusal::Exhausted));
    a.lose(&who(2)).unwrap();
    assert_eq!(a.give_back(&who(2), 1, 0, 2), Err(BudgetRefusal::Lost));
    assert!(a.is_sound());
}

#[test]
fn what_others_hold_is_what_their_open_leases_have_not_settled() {
    let (mut a, _) = held(300);
    let others = |a: &Allowance| a.held_by(|s| *s != who(1));
    assert_eq!((others(&a), a.held_by(|_| true)), (0, 300));
    a.take(&who(2), 200, 0, 0).unwrap();
    a.take(&who(2), 0, 150, 1).unwrap();
    a.take(&who(3), 70, 0, 0).unwrap();
    assert_eq!(others(&a), 120);
    a.lose(&who(3)).unwrap();
    assert_eq!(others(&a), 50, "what is lost is not given back");
}

#[test]
fn a_session_gives_back_what_it_gave_up() {
    let (mut a, mut h) = held(300);
    let ask = return_some(&mut h, 200, 60);
    assert_eq!((ask, h.given(), h.given_up()), (Ask { bytes: 200, settled: 60, seq: 1 }, 100, 200));
    let answer = answer_back(&mut a, ask);
    assert_eq!(h.hear(&answer), Heard::Agreed { got: 0, available: Some(900) });
    assert_eq!((h.taken(), h.given(), h.given_up(), h.settled(), h.seq()), (100, 100, 0, 60, 2));
    assert!(!h.owes(60) && h.owes(61));
    assert_eq!(say(&mut a, &mut h, 50, 100), Heard::Agreed { got: 50, available: Some(850) });
}

#[test]
fn a_giving_back_whose_answer_is_lost_knows_itself_again() {
    let (mut a, mut h) = held(300);
    let ask = return_some(&mut h, 200, 60);
    let _ = answer_back(&mut a, ask);
    assert!(h.owes(60), "it is asked again");
    let ask = h.ask_back(60);
    let answer = answer_back(&mut a, ask);
    assert_eq!(h.hear(&answer), Heard::Agreed { got: 0, available: Some(900) });
    // Bytes moved meanwhile: the lease reads as stale, and says all the same what is held.
    let ask = return_some(&mut h, 10, 60);
    let _ = answer_back(&mut a, ask);
    let ask = h.ask_back(70);
    let answer = answer_back(&mut a, ask);
    assert_eq!(h.hear(&answer), Heard::Agreed { got: 0, available: None });
    assert_eq!((h.taken(), h.given(), a.available), (90, 90, 910));
}

#[test]
fn of_a_giving_back_and_a_take_in_its_place_one_is_done_and_no_byte_is_forgotten() {
    // The giving back was done: the take finds it so, and what it asked for it has not got.
    let (mut a, mut h) = held(300);
    let ask = return_some(&mut h, 200, 60);
    let _ = answer_back(&mut a, ask);
    assert_eq!(say(&mut a, &mut h, 50, 60), Heard::Agreed { got: 0, available: Some(900) });
    assert_eq!((h.taken(), h.given()), (100, 100));

    // It never arrived, and cannot any more: what was given up is handed out again.
    let (mut a, mut h) = held(300);
    let ask = return_some(&mut h, 200, 60);
    assert_eq!(say(&mut a, &mut h, 50, 60), Heard::Agreed { got: 250, available: Some(650) });
    assert_eq!((h.taken(), h.given(), h.given_up()), (350, 350, 0));
    let late = answer_back(&mut a, ask);
    assert!(matches!(late, Take::Taken { ref lease, .. } if lease.taken == 350), "{late:?}");
    assert_eq!((a.available, a.leases[&who(1)].taken), (650, 350));

    // More was given up before it was asked again: what did not go back is handed out again.
    let (mut a, mut h) = held(300);
    let ask = return_some(&mut h, 100, 60);
    let _ = answer_back(&mut a, ask);
    let ask = return_some(&mut h, 40, 60);
    assert_eq!(ask.bytes, 140);
    let answer = answer_back(&mut a, ask);
    assert_eq!(h.hear(&answer), Heard::Agreed { got: 40, available: Some(800) });
    assert_eq!((h.taken(), h.given()), (200, 200));
}

#[test]
fn a_closing_takes_along_what_was_given_up() {
    for arrived in [false, true] {
        let (mut a, mut h) = held(300);
        let ask = return_some(&mut h, 200, 60);
        if arrived {
            let _ = answer_back(&mut a, ask);
        }
        h.begin_closing();
        assert_eq!((h.given(), h.given_up(), h.owes(1000)), (100, 0, false));
        let mut tries = 0;
        loop {
            let Ending::Close(last) = h.ending(80) else { panic!("{h:?}") };
            let fits = a.leases.get(&who(1)).is_some_and(|l| l.taken == last.taken);
            let closed = fits && a.close(&who(1), last.settled, last.doubt, last.seq).is_ok();
            tries += 1;
            let answer = if closed { Close::Closed } else { a.refused_close(&who(1), last) };
            if h.hear_close(answer) == Ended::Done {
                break;
            }
            assert!(tries < 3, "{answer:?}");
        }
        assert_eq!((a.available, a.folded, tries), (920, 80, 1 + u32::from(arrived)));
        // Late, it finds no lease.
        assert_eq!(answer_back(&mut a, ask), Take::NoLease);
    }
}

#[test]
fn a_crash_between_giving_up_and_the_answer_loses_nothing() {
    for arrived in [false, true] {
        let (mut a, mut h) = held(300);
        let ask = return_some(&mut h, 200, 60);
        if arrived {
            let _ = answer_back(&mut a, ask);
        }
        // The store says what was taken; 70 are counted and 30 in doubt of the 100 that were kept.
        let last = a.leases[&who(1)].after_crash(70, 30).unwrap();
        assert_eq!((last.settled, last.doubt), (70, 30));
        a.close(&who(1), last.settled, last.doubt, last.seq).unwrap();
        assert_eq!((a.available, a.folded), (900, 100));
    }
}
