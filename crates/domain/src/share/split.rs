//! How much of one limit an edge should hold, from what all of them hold and need.
//!
//! Needs that fit together are met; where they do not, nobody who wants more gets less than who
//! else wants more (max-min fairness). What nobody needs stays where it is: without a want
//! nothing moves.

use std::cmp::Reverse;

/// What one edge holds of a limit, and what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub held: u64,
    pub need: u64,
    /// When it began to lack something, as a version of the item; `u64::MAX` = it lacks nothing.
    pub since: u64,
    /// It got what it lacked a moment ago, and who asked for it has not come back yet.
    pub fresh: bool,
}

/// What the one at `mine` should hold of `limit`: less than now if others lack what it holds
/// beyond its part, more if nobody holds it. If each goes there in turn, the sum never exceeds
/// `limit`; one that exceeds it (the limit was lowered) only falls.
pub(super) fn target(limit: u64, claims: &[Claim], mine: usize) -> u64 {
    let parts = parts(limit, claims);
    let (me, part) = (claims[mine].held, parts[mine]);
    let others = claims.iter().enumerate().filter(|(n, _)| *n != mine);
    let (mut theirs, mut lacking) = (0u64, 0u64);
    for (n, claim) in others {
        theirs = theirs.saturating_add(claim.held);
        lacking = lacking.saturating_add(parts[n].saturating_sub(claim.held));
    }
    let rest = limit.saturating_sub(theirs);
    if me > rest {
        return me.min(part.max(rest));
    }
    let free = rest - me;
    let give = lacking.saturating_sub(free).min(me.saturating_sub(part));
    let take = part.saturating_sub(me).min(free);
    let spare = free.saturating_sub(take).saturating_sub(lacking);
    me - give + take + spare
}

/// The fair part of each; their sum is at most `limit`.
fn parts(limit: u64, claims: &[Claim]) -> Vec<u64> {
    let mut parts = vec![0; claims.len()];
    let mut left = limit;
    let mut open: Vec<usize> = (0..claims.len()).collect();
    while let Some(level) = left.checked_div(open.len() as u64) {
        let (content, mut rest): (Vec<_>, Vec<_>) = open.into_iter().partition(|n| claims[*n].need <= level);
        if content.is_empty() {
            let extra = left - level * rest.len() as u64;
            order(&mut rest, claims, level);
            for (place, n) in rest.into_iter().enumerate() {
                parts[n] = level + u64::from((place as u64) < extra);
            }
            return parts;
        }
        for n in content {
            parts[n] = claims[n].need;
            left -= claims[n].need;
        }
        open = rest;
    }
    parts
}

/// Who is first to get one of the units that are left over when all have got `level`.
fn order(who: &mut [usize], claims: &[Claim], level: u64) {
    if level == 0 {
        // Some get nothing. It goes round: first who holds nothing, of those who has waited longest.
        who.sort_by_key(|n| (!claims[*n].fresh, claims[*n].held, claims[*n].since, *n));
    } else {
        // All have some: nothing moves for the sake of one unit.
        who.sort_by_key(|n| (Reverse(claims[*n].held), *n));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(held: u64, need: u64) -> Claim {
        Claim { held, need, since: u64::MAX, fresh: false }
    }

    fn since(held: u64, need: u64, since: u64) -> Claim {
        Claim { since, ..claim(held, need) }
    }

    #[test]
    fn who_lacks_nothing_keeps_all_that_nobody_lacks() {
        assert_eq!(target(10, &[claim(0, 0)], 0), 10);
        assert_eq!(target(10, &[claim(10, 3), claim(0, 0)], 0), 10);
        assert_eq!(target(10, &[claim(10, 3), claim(0, 0)], 1), 0);
        // What somebody lacks is given, not more; and not taken by who does not.
        assert_eq!(target(10, &[claim(10, 3), claim(0, 2)], 0), 8);
        assert_eq!(target(10, &[claim(8, 3), claim(0, 2)], 0), 8);
        assert_eq!(target(10, &[claim(8, 3), claim(0, 2)], 1), 2);
    }

    #[test]
    fn needs_that_do_not_fit_are_met_alike() {
        let both = [claim(10, 10), claim(0, 10)];
        assert_eq!((target(10, &both, 0), target(10, &both, 1)), (5, 0));
        // Little is met as a whole.
        let little = [claim(10, 10), claim(0, 1)];
        assert_eq!(target(10, &little, 0), 9);
        let three = [claim(9, 9), claim(1, 2), claim(0, 9)];
        assert_eq!(parts(10, &three), [4, 2, 4]);
        // An odd one stays where it is.
        assert_eq!(parts(3, &[claim(1, 3), claim(2, 3)]), [1, 2]);
        assert_eq!(parts(3, &[claim(2, 3), claim(1, 3)]), [2, 1]);
    }

    #[test]
    fn one_goes_round_between_more_than_one() {
        let waiting = [claim(1, 1), since(0, 1, 7), since(0, 1, 5)];
        assert_eq!((target(1, &waiting, 0), target(1, &waiting, 2)), (0, 0));
        let freed = [since(0, 1, 9), since(0, 1, 7), since(0, 1, 5)];
        assert_eq!([0, 1, 2].map(|n| target(1, &freed, n)), [0, 0, 1]);
        // Who got it and has not used it yet keeps it.
        let fresh = [Claim { fresh: true, ..claim(1, 1) }, since(0, 1, 7)];
        assert_eq!(target(1, &fresh, 0), 1);
    }

    #[test]
    fn a_lower_limit_is_met_by_all_together() {
        let mut claims = [claim(12, 12), claim(8, 8)];
        claims[0].held = target(10, &claims, 0);
        claims[1].held = target(10, &claims, 1);
        assert_eq!((claims[0].held, claims[1].held), (5, 5));
        let mut claims = [claim(19, 19), claim(1, 1)];
        claims[1].held = target(10, &claims, 1);
        claims[0].held = target(10, &claims, 0);
        assert_eq!((claims[0].held, claims[1].held), (9, 1));
    }

    fn claims() -> impl Strategy<Value = Vec<Claim>> {
        let one = (0u64..40, 0u64..40, 0u64..5, any::<bool>());
        let make = |(held, need, since, fresh)| Claim { held, need, since, fresh };
        prop::collection::vec(one.prop_map(make), 1..8)
    }

    proptest! {
        #[test]
        fn parts_fit_the_limit_and_nobody_gets_more_than_it_needs(limit in 0u64..100, claims in claims()) {
            let parts = parts(limit, &claims);
            let needs = claims.iter().map(|c| c.need).sum::<u64>();
            prop_assert_eq!(parts.iter().sum::<u64>(), limit.min(needs));
            for (part, claim) in parts.iter().zip(&claims) {
                prop_assert!(*part <= claim.need);
                let least = parts.iter().zip(&claims).filter(|(p, c)| **p < c.need).map(|(p, _)| *p).min();
                prop_assert!(least.is_none_or(|least| *part <= least + 1), "{parts:?} of {claims:?}");
            }
        }

        #[test]
        fn sums_never_rise_above_the_limit_and_every_need_is_met_in_turn(
            limit in 0u64..100,
            mut claims in claims(),
        ) {
            for _ in 0..3 {
                for n in 0..claims.len() {
                    let before = claims.iter().map(|c| c.held).sum::<u64>();
                    claims[n].held = target(limit, &claims, n);
                    let after = claims.iter().map(|c| c.held).sum::<u64>();
                    prop_assert!(after <= limit.max(before), "{before} to {after} of {limit}");
                }
            }
            prop_assert!(claims.iter().map(|c| c.held).sum::<u64>() <= limit);
            if claims.iter().map(|c| c.need).sum::<u64>() <= limit {
                prop_assert!(claims.iter().all(|c| c.held >= c.need), "{claims:?} of {limit}");
            }
        }
    }
}
