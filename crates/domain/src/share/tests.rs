mod fleet;

use super::*;

fn who(n: u8) -> EdgeSession {
    EdgeSession { edge: format!("e{n}").parse().unwrap(), epoch: 1 }
}

fn terms(hard: u32, qps: u32, rate: u64) -> Terms {
    Terms { ver: 1, soft: hard, limits: Capacity { hard, qps, rate } }
}

/// An edge that carries so many tunnels and holds on to no more.
fn using(in_use: u32) -> Usage {
    Usage { in_use, ..Usage::default() }
}

fn at(s: u64) -> Timestamp {
    Timestamp::from_secs(1_000_000 + s)
}

fn tell(cap: &mut Cap, who: &EdgeSession, terms: Terms, usage: Usage) -> Answer {
    cap.report(who, Others::default(), terms, usage, at(0))
}

#[test]
fn a_lone_edge_holds_all_and_a_second_asks_for_its_part() {
    let mut cap = Cap::default();
    let all = terms(10, 20, 1 << 20);
    let node = tell(&mut cap, &who(1), all, using(3)).held;
    assert_eq!(node, Part { threads: 10, qps: 20, rate: 1 << 20 });
    let needs = Usage { need: Demand::first(all.limits), ..Usage::default() };
    assert_eq!(tell(&mut cap, &who(2), all, needs).held, Part::default());
    assert_eq!(cap.nodes[&who(2)].want, Part { threads: 1, qps: 2, rate: 1 << 17 });

    // The first one is asked for it, and gives nothing before it has lowered its own limits.
    let kept = Part { threads: 10, qps: 20, rate: 1 << 20 };
    let need = Part { threads: 3, qps: 5, rate: 1 << 18 };
    let asked = tell(&mut cap, &who(1), all, Usage { need, kept, ..using(3) });
    assert_eq!(asked.may, Part { threads: 9, qps: 18, rate: (1 << 20) - (1 << 17) });
    assert_eq!(asked.held, kept);
    let given = tell(&mut cap, &who(1), all, Usage { need, kept: asked.may, ..using(3) });
    assert_eq!((given.may, given.held), (asked.may, asked.may));
    assert!(cap.fits());
    let got = tell(&mut cap, &who(2), all, needs);
    assert_eq!(got.held, Part { threads: 1, qps: 2, rate: 1 << 17 });
    assert!(cap.nodes[&who(2)].want.is_nothing());

    assert_eq!(cap.in_use(), 3);
    assert!(cap.leave(&who(1)));
    assert!(!cap.leave(&who(1)));
    assert!(all.limits.is_whole(tell(&mut cap, &who(2), all, using(0)).held));
}

#[test]
fn tunnels_that_stand_are_held_until_they_end() {
    let mut cap = Cap::default();
    let all = terms(10, 0, 0);
    tell(&mut cap, &who(1), all, using(10));
    let needs = |threads| Usage { need: Part { threads, ..Part::default() }, ..Usage::default() };
    tell(&mut cap, &who(2), all, needs(8));
    let mut held = Vec::new();
    for in_use in [10, 9, 6, 4] {
        let answer = tell(&mut cap, &who(1), all, using(in_use));
        assert!(answer.may.threads <= 6, "{answer:?}");
        held.push((answer.held.threads, tell(&mut cap, &who(2), all, needs(8)).held.threads));
        assert!(cap.fits(), "{cap:?}");
    }
    assert_eq!(held, [(10, 0), (9, 1), (6, 4), (4, 6)]);
}

#[test]
fn without_a_limit_nothing_is_split_and_none_is_not_unlimited() {
    let mut cap = Cap::default();
    let none = terms(0, 0, 0);
    assert!(!none.limits.limited());
    for n in [1, 2] {
        assert_eq!(tell(&mut cap, &who(n), none, using(5)).held, Part::default());
    }
    assert!(cap.fits() && cap.nodes.values().all(|n| n.want.is_nothing()));
    // Limited from now on: what stands was never held, and no one holds more than there is.
    let some = Terms { ver: 2, ..terms(6, 0, 0) };
    assert_eq!(tell(&mut cap, &who(1), some, using(5)).held.threads, 3);
    assert_eq!(tell(&mut cap, &who(2), some, using(5)).held.threads, 3);
    assert!(cap.fits());
}

#[test]
fn an_edge_that_knows_an_older_row_does_not_bring_its_limits_back() {
    let mut cap = Cap::default();
    let (old, new) = (terms(20, 0, 0), Terms { ver: 2, ..terms(8, 0, 0) });
    for n in [1, 2] {
        tell(&mut cap, &who(n), old, using(6));
    }
    let kept = |threads| Usage { kept: Part { threads, ..Part::default() }, ..using(6) };
    let lowered = tell(&mut cap, &who(1), new, kept(20));
    assert_eq!((lowered.may.threads, lowered.held.threads), (8, 20));
    tell(&mut cap, &who(1), new, kept(8));
    let stale = tell(&mut cap, &who(2), old, using(6));
    assert_eq!((stale.may.threads, cap.terms), (0, new));
}

#[test]
fn a_predecessor_keeps_what_its_tunnels_need_and_its_successor_gets_the_rest() {
    let mut cap = Cap::default();
    let all = terms(10, 20, 1001);
    let (old, new) = (who(1), EdgeSession { epoch: 2, ..who(1) });
    tell(&mut cap, &old, all, using(0));
    for _ in 0..2 {
        cap.withdraw(&old, 3);
        let kept = Node { held: 3, in_use: 3, qps: 1, rate: 501, ..Node::default() };
        assert_eq!(cap.nodes[&old], kept);
    }
    let others = Others { elders: std::slice::from_ref(&old), dead: &[] };
    let answer = cap.report(&new, others, all, using(0), at(0));
    assert_eq!(answer.held, Part { threads: 7, qps: 19, rate: 500 });
    assert!(cap.fits());
    let ver = cap.ver;
    cap.withdraw(&who(2), 3);
    assert_eq!(cap.ver, ver, "who holds nothing has nothing to withdraw");
}

#[test]
fn earlier_lives_are_forgotten_unless_they_live_on() {
    let all = terms(10, 20, 1001);
    let (dead, elder, new) = (who(1), EdgeSession { epoch: 2, ..who(1) }, EdgeSession { epoch: 3, ..who(1) });
    let mut cap = Cap::default();
    tell(&mut cap, &dead, all, using(4));
    tell(&mut cap, &elder, all, using(6));
    assert_eq!(cap.in_use(), 6, "the first life is over");
    let others = Others { elders: std::slice::from_ref(&elder), dead: &[] };
    for _ in 0..2 {
        let answer = cap.report(&new, others, all, using(1), at(0));
        assert_eq!(answer.held, Part { threads: 4, qps: 19, rate: 500 });
        assert_eq!((cap.in_use(), cap.nodes[&elder].held), (7, 6));
    }
    tell(&mut cap, &new, all, using(1));
    assert_eq!((cap.in_use(), cap.nodes[&new].held), (1, 10));
}

#[test]
fn the_dead_are_over_but_nobody_is_dead_to_itself() {
    let all = terms(10, 0, 0);
    let mut cap = Cap::default();
    tell(&mut cap, &who(1), all, using(7));
    let dead = [who(1), who(2)];
    let others = Others { elders: &[], dead: &dead };
    assert_eq!(cap.report(&who(2), others, all, using(0), at(0)).held.threads, 10);
    assert_eq!(cap.in_use(), 0);
    // It lived after all: it gets what is given, and its tunnels count.
    let back = tell(&mut cap, &who(1), all, Usage { kept: Part { threads: 10, ..Part::default() }, ..using(7) });
    assert_eq!((back.may.threads, back.held.threads, cap.in_use()), (0, 0, 7));
    assert_eq!(cap.nodes[&who(1)].want.threads, 7);
    tell(&mut cap, &who(2), all, using(0));
    assert_eq!(tell(&mut cap, &who(1), all, using(7)).held.threads, 7);
}

#[test]
fn a_want_is_told_once_and_only_where_another_has_something() {
    let all = terms(10, 0, 0);
    let needs = |threads| Usage { need: Part { threads, ..Part::default() }, ..Usage::default() };
    let mut cap = Cap::default();
    tell(&mut cap, &who(1), all, needs(20));
    assert!(!cap.asks_for_more_than(None, &who(1)), "there is nobody to ask");
    let before = cap.clone();
    tell(&mut cap, &who(2), all, needs(2));
    assert!(cap.asks_for_more_than(Some(&before), &who(2)));
    let before = cap.clone();
    tell(&mut cap, &who(2), all, needs(2));
    assert!(cap.says_the_same_as(&before) && !cap.asks_for_more_than(Some(&before), &who(2)));
    tell(&mut cap, &who(2), all, needs(1));
    assert!(!cap.asks_for_more_than(Some(&before), &who(2)), "it wants less");
}

#[test]
fn a_strict_plans_refusals_count_where_nobody_has_room() {
    let all = terms(10, 0, 0);
    let usage = |in_use, refused| Usage { refused, ..using(in_use) };
    let said = |cap: &mut Cap, n, usage, s| cap.report(&who(n), Others::default(), all, usage, at(s));
    let mut cap = Cap::default();
    said(&mut cap, 1, usage(2, 0), 0);
    // The first edge holds all and uses two: the second refuses because of the split.
    assert_eq!(said(&mut cap, 2, usage(0, 7), 5).held.threads, 0);
    assert_eq!(cap.strike, Strike::default());
    said(&mut cap, 1, usage(10, 0), 10);
    said(&mut cap, 2, usage(0, 1), 15);
    assert_eq!(cap.strike.since, Some(at(15)));
    // A lone edge whose tunnels are short: they are over when it looks.
    let mut cap = Cap::default();
    said(&mut cap, 1, usage(0, 3), 0);
    assert_eq!(cap.strike.since, Some(at(0)));
}

#[test]
fn the_sum_of_all_edges_strikes_and_dead_lives_do_not_count() {
    let burst = Terms { soft: 10, ..terms(20, 0, 0) };
    let mut cap = Cap::default();
    let mut struck = Vec::new();
    for s in (0..=900).step_by(5) {
        for edge in [1, 2] {
            if cap.report(&who(edge), Others::default(), burst, using(6), at(s)).struck {
                struck.push((edge, s));
            }
        }
    }
    // The second edge's first report made the sum 12; the first edge looks first at 900 s.
    assert_eq!(struck, [(1, 900)]);
    assert_eq!(cap.strike.locked_until, Some(at(900 + 3600)));
    let next = EdgeSession { epoch: 2, ..who(1) };
    cap.report(&next, Others::default(), burst, using(0), at(5000));
    assert_eq!(cap.in_use(), 6);
}
