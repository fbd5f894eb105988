use proptest::prelude::*;

use super::*;

const SOFT: u32 = 10;

fn at(s: u64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + s)
}

fn tunnels(in_use: u64) -> Sample {
    Sample { in_use, soft: SOFT, strict: false, refused: false }
}

fn strict(refused: bool) -> Sample {
    Sample { in_use: u64::from(SOFT), soft: SOFT, strict: true, refused }
}

/// Samples every 5 s from `from` up to, not including, `to`; none of them may strike.
fn quietly(clock: &mut Strike, sample: Sample, from: u64, to: u64) {
    for s in (from..to).step_by(5) {
        assert!(!clock.sample(sample, at(s)), "struck at {s} s");
    }
}

#[test]
fn fifteen_minutes_above_lock_for_an_hour() {
    let mut clock = Strike::default();
    quietly(&mut clock, tunnels(11), 0, 900);
    assert_eq!(clock.since, Some(at(0)));
    assert!(clock.sample(tunnels(11), at(900)));
    assert_eq!((clock.since, clock.locked_until), (None, Some(at(900 + 3600))));
    // The clock stands while the lock holds, and starts anew after it.
    quietly(&mut clock, tunnels(20), 905, 4500);
    assert_eq!((clock.since, clock.locked(at(4499))), (None, Some(at(4500))));
    quietly(&mut clock, tunnels(11), 4500, 5400);
    assert!(clock.sample(tunnels(11), at(5400)));
}

#[test]
fn a_minute_at_or_under_clears_and_less_does_not() {
    let mut clock = Strike::default();
    quietly(&mut clock, tunnels(11), 0, 600);
    quietly(&mut clock, tunnels(10), 600, 655);
    quietly(&mut clock, tunnels(11), 655, 900);
    assert!(clock.sample(tunnels(11), at(900)), "55 s of calm clear nothing");

    let mut clock = Strike::default();
    quietly(&mut clock, tunnels(11), 0, 600);
    quietly(&mut clock, tunnels(10), 600, 665);
    assert_eq!(clock, Strike::default());
    quietly(&mut clock, tunnels(11), 665, 665 + 900);
    assert!(clock.sample(tunnels(11), at(665 + 900)));
}

#[test]
fn a_strict_plan_counts_refusals() {
    let mut clock = Strike::default();
    // Another edge, which refuses nothing, samples in between.
    for s in (0..900).step_by(5) {
        assert!(!clock.sample(strict(true), at(s)));
        let before = clock;
        assert!(!clock.sample(strict(false), at(s + 2)));
        assert_eq!(clock, before, "an edge that refuses nothing changes nothing");
    }
    assert!(clock.sample(strict(true), at(900)));

    let mut clock = Strike::default();
    quietly(&mut clock, strict(true), 0, 600);
    quietly(&mut clock, strict(false), 600, 655);
    assert_eq!(clock.calm_since, Some(at(595)), "calm began with the last refusal");
    quietly(&mut clock, strict(false), 655, 660);
    assert_eq!(clock, Strike::default());
    // Where the plan has a burst, refusals above it say nothing that the sum does not say.
    let burst = Sample { refused: true, ..tunnels(10) };
    quietly(&mut clock, burst, 700, 2000);
    assert_eq!(clock, Strike::default());
}

#[test]
fn time_that_nobody_sampled_is_not_held_against_anybody() {
    let mut clock = Strike::default();
    quietly(&mut clock, tunnels(11), 0, 300);
    // No edge for 20 minutes, or one whose clock is far ahead.
    assert!(!clock.sample(tunnels(11), at(1500)));
    assert_eq!(clock.since, Some(at(1500)));
    // The last sample was calm: the clock is cleared however late the next one comes.
    quietly(&mut clock, tunnels(10), 1505, 1510);
    assert!(!clock.sample(tunnels(11), at(4000)));
    assert_eq!((clock.since, clock.calm_since), (Some(at(4000)), None));
    // A clock that steps back neither strikes nor clears.
    assert!(!clock.sample(tunnels(11), at(0)));
    assert_eq!(clock.since, Some(at(4000)));
}

#[test]
fn a_plan_without_a_limit_has_no_clock_and_an_operator_ends_all() {
    let mut clock = Strike::default();
    quietly(&mut clock, tunnels(11), 0, 100);
    assert!(!clock.sample(Sample { soft: 0, ..tunnels(5000) }, at(100)));
    assert_eq!(clock, Strike::default());
    quietly(&mut clock, tunnels(11), 200, 1100);
    assert!(clock.sample(tunnels(11), at(1100)));
    assert!(clock.forgive() && !clock.forgive());
    assert_eq!(clock, Strike::default());
}

/// The rule in its own words: since when above without a minute of calm in between.
fn struck_by_the_rule(levels: &[bool]) -> Option<usize> {
    let (mut since, mut calm) = (None, 0);
    for (n, above) in levels.iter().enumerate() {
        // The first calm sample began the minute, twelve intervals ago.
        if calm >= 12 {
            since = None;
        }
        calm = if *above { 0 } else { calm + 1 };
        if *above && n - *since.get_or_insert(n) >= 180 {
            return Some(n);
        }
    }
    None
}

/// Runs of samples above or not, up to half an hour in all.
fn levels() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec((any::<bool>(), 1usize..40), 1..30)
        .prop_map(|runs| runs.into_iter().flat_map(|(above, n)| vec![above; n]).collect())
}

proptest! {
    #[test]
    fn the_clock_strikes_when_the_rule_says(levels in levels()) {
        let mut clock = Strike::default();
        let struck = levels.iter().enumerate().position(|(n, above)| {
            clock.sample(tunnels(if *above { 11 } else { 10 }), at(5 * n as u64))
        });
        prop_assert_eq!(struck, struck_by_the_rule(&levels));
    }

    #[test]
    fn a_steady_customer_is_written_at_most_once_a_minute(levels in levels()) {
        let mut clock = Strike::default();
        let (mut writes, mut crossings, mut last) = (0, 1, false);
        for (n, above) in levels.iter().enumerate() {
            crossings += usize::from(*above != last);
            last = *above;
            let before = clock;
            clock.sample(tunnels(if *above { 11 } else { 10 }), at(5 * n as u64));
            writes += usize::from(clock != before);
        }
        prop_assert!(writes <= 2 * crossings + levels.len() / 12, "{writes} writes, {crossings} crossings");
    }

    #[test]
    fn whatever_edges_say_a_lock_is_an_hour_and_follows_a_quarter_of_an_hour(
        steps in prop::collection::vec((0u64..400, 0u64..20, any::<bool>(), any::<bool>()), 1..300),
    ) {
        let (mut clock, mut now, mut first_above) = (Strike::default(), 0, None);
        for (pass, in_use, strict, refused) in steps {
            now += pass;
            let sample = Sample { in_use, soft: SOFT, strict, refused };
            let struck = clock.sample(sample, at(now));
            if sample.above() {
                first_above.get_or_insert(now);
            }
            if struck {
                prop_assert!(sample.above());
                prop_assert!(first_above.is_some_and(|s| now - s >= 900));
                prop_assert_eq!(clock.locked_until, Some(at(now + 3600)));
                first_above = None;
            }
            if clock.locked(at(now)).is_some() {
                prop_assert!(clock.since.is_none() && clock.calm_since.is_none());
                first_above = None;
            }
            prop_assert!(clock.calm_since.is_none() || clock.since.is_some());
        }
    }
}
