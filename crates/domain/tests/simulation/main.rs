//! Deterministic simulation of an edge fleet: 1 to 50 nodes with the domain's machines against a
//! model of the store's transitions, with lost answers, doubled and late writes, throttling,
//! conflicts, cut-offs, crashes with and without journal, clocks that are off and jump, and lives
//! that return after they were declared lost. Invariants 3 and 4 are checked at every step.
//!
//! A run is its seed. `TOLLGATE_SIM_SEEDS=<n>` plays so many seeds (10,000 if it is not set, 100,000
//! with `TOLLGATE_LONG=1`); `TOLLGATE_SIM_SEED=<n>` with the test `replay` plays one, and tells each step.

#![allow(clippy::unwrap_used, clippy::panic)] // what a helper cannot do fails the test

mod books;
mod call;
mod dice;
mod faults;
mod invariants;
mod journal;
mod life;
mod network;
mod node;
mod planted;
mod recovery;
mod rows;
mod store_model;
mod world;

use planted::Planted;
use world::{Met, Violation, World};

/// Seeds that are played where nothing else is said.
const SEEDS: u64 = 10_000;
/// With `TOLLGATE_LONG=1`.
const MANY_SEEDS: u64 = 100_000;
/// The runs are split over so many tests, so that they run side by side.
const PARTS: u64 = 4;

#[allow(clippy::disallowed_methods, reason = "how much is played is the tester's choice")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|v| v.parse().unwrap_or_else(|_| panic!("{name} is no number: {v}")))
}

/// Plays one seed; what it met.
fn play(seed: u64, planted: Option<Planted>, loud: bool) -> Result<Met, Violation> {
    let mut world = World::new(seed, planted, loud);
    // A node alone needs a dozen steps until it holds its first bytes.
    let steps = 100 + u32::try_from(seed % 5 * 60 + 60 * world.nodes.len() as u64).unwrap_or(0);
    world.run(steps)?;
    Ok(std::mem::take(&mut world.met))
}

/// Says the seed if a run panics instead of failing.
struct Playing(u64);

impl Drop for Playing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("while playing seed {}", self.0);
        }
    }
}

fn play_part(part: u64) {
    let usual = if setting("TOLLGATE_LONG").is_some() { MANY_SEEDS } else { SEEDS };
    let seeds = setting("TOLLGATE_SIM_SEEDS").unwrap_or(usual);
    for seed in (part..seeds).step_by(usize::try_from(PARTS).unwrap()) {
        let playing = Playing(seed);
        if let Err(violation) = play(seed, None, false) {
            panic!("{violation}");
        }
        drop(playing);
    }
}

#[test]
fn no_history_breaks_an_invariant_1() {
    play_part(0);
}

#[test]
fn no_history_breaks_an_invariant_2() {
    play_part(1);
}

#[test]
fn no_history_breaks_an_invariant_3() {
    play_part(2);
}

#[test]
fn no_history_breaks_an_invariant_4() {
    play_part(3);
}

#[test]
fn replay() {
    let Some(seed) = setting("TOLLGATE_SIM_SEED") else { return };
    match play(seed, None, true) {
        Ok(met) => eprintln!("seed {seed} holds: {met:?}"),
        Err(violation) => panic!("{violation}"),
    }
}

#[test]
fn a_seed_is_a_history() {
    for seed in 0..20 {
        assert_eq!(play(seed, None, false).unwrap(), play(seed, None, false).unwrap(), "seed {seed}");
    }
}

/// Whatever the simulation is to try, it tries often.
#[test]
fn the_runs_meet_what_they_are_to_meet() {
    let mut all = Met::new();
    for seed in 0..600 {
        for (what, times) in play(seed, None, false).unwrap() {
            *all.entry(what).or_default() += times;
        }
    }
    let expected = [
        "answered",
        "throttled",
        "conflict",
        "unreached",
        "lost answer",
        "doubled",
        "shadowed",
        "delayed",
        "arrived late",
        "starts",
        "crashes",
        "crashes while it recovers",
        "crashes without its journal",
        "is declared lost",
        "returned after it was lost",
        "is cut off",
        "is reached again",
        "has its clock set",
        "gave back",
        "sees a grant",
        "sees a withdrawal",
        "begins to leave",
        "falls idle",
        "left cleanly",
        "closed",
        "left doubt",
    ];
    let rare: Vec<_> = expected.iter().filter(|what| all.get(*what).is_none_or(|n| *n < 5)).collect();
    assert!(rare.is_empty(), "{rare:?} of {all:?}");
}

/// The first of `seeds` in which a planted bug breaks an invariant.
fn caught(planted: Planted, seeds: u64) -> Violation {
    let found = (0..seeds).find_map(|seed| play(seed, Some(planted), false).err());
    found.unwrap_or_else(|| panic!("{planted:?} was not noticed in {seeds} seeds"))
}

#[test]
fn a_settle_without_its_sequence_is_noticed() {
    caught(Planted::SettlesWithoutItsSequence, 2000);
}

#[test]
fn a_lease_that_is_returned_by_time_is_noticed() {
    caught(Planted::ReturnsALeaseByTime, 2000);
}

#[test]
fn counting_before_the_call_is_noticed() {
    let violation = caught(Planted::CountsBeforeTheCall, 2000);
    assert!(violation.what.starts_with('3'), "{violation}");
}

#[test]
fn a_lease_that_is_given_back_while_it_is_spent_is_noticed() {
    caught(Planted::GivesBackWhatItSpends, 2000);
}

#[test]
fn bytes_that_are_given_back_and_kept_are_noticed() {
    caught(Planted::GivesBackWhatItKeeps, 2000);
}

#[test]
fn a_first_take_that_is_forgotten_is_noticed() {
    let violation = caught(Planted::ForgetsItsFirstTake, 4000);
    assert!(violation.what.contains("no lease is open"), "{violation}");
}

#[test]
fn doubt_that_is_not_charged_is_noticed() {
    caught(Planted::DoubtsNothing, 4000);
}

/// A limit of the design, and what it rests on: a write does not arrive after its lease is closed
/// and the same session has opened the next. The network would have to hold it back for as long as
/// the customer is idle; signatures of calls end that after minutes.
#[test]
fn a_write_that_outlives_its_lease_would_do_harm() {
    caught(Planted::ArrivesAfterItsLease, 10_000);
}
