//! Edges over one item, in any order of reports, losses, deaths, cut-offs and changes of the plan.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const EDGES: u8 = 4;

/// An edge as it is, whatever the item says of it.
struct Edge {
    session: EdgeSession,
    /// The row that it knows.
    terms: Terms,
    /// What it allows itself.
    may: Part,
    live: u32,
    entered: u32,
    refused: u32,
    demand: Demand,
    alive: bool,
    /// It does not reach the store.
    cut: bool,
    /// Its share was taken back, and it has not fitted into what it has got since.
    orphan: bool,
}

impl Edge {
    fn new(n: u8, terms: Terms) -> Self {
        Self {
            session: who(n),
            terms,
            may: Part::default(),
            live: 0,
            entered: 0,
            refused: 0,
            demand: Demand::default(),
            alive: true,
            cut: false,
            orphan: false,
        }
    }

    /// A connection comes.
    fn open(&mut self) -> bool {
        let admitted = self.live < self.may.threads;
        if admitted {
            self.live += 1;
            self.entered += 1;
        } else {
            self.refused += 1;
        }
        admitted
    }

    fn usage(&mut self, now: Duration) -> Usage {
        let (entered, refused) = (std::mem::take(&mut self.entered), std::mem::take(&mut self.refused));
        let seen = Seen { in_use: self.live, entered, refused, ..Seen::default() };
        let need = self.demand.look(seen, self.may, self.terms.limits, now);
        let kept = Part { threads: self.may.threads.max(self.live), ..self.may };
        Usage { in_use: self.live, entered, refused, need, kept }
    }
}

/// What becomes of one report.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Heard,
    /// It never arrives.
    Lost,
    /// It is applied, and the edge does not hear of it.
    Unanswered,
}

struct Fleet {
    cap: Cap,
    edges: Vec<Edge>,
    terms: Terms,
    /// The highest limit that was ever in force.
    most: u32,
    now: Duration,
}

impl Fleet {
    fn new(count: u8, hard: u32) -> Self {
        let terms = terms(hard, 0, 0);
        let edges = (0..count).map(|n| Edge::new(n, terms)).collect();
        Self { cap: Cap::default(), edges, terms, most: hard, now: Duration::from_secs(1000) }
    }

    /// Reports as an edge does: again, once its own limits are down.
    fn report(&mut self, n: usize, fate: Fate) {
        let dead: Vec<_> = self.edges.iter().filter(|e| !e.alive || e.cut).map(|e| e.session.clone()).collect();
        for _ in 0..2 {
            let edge = &mut self.edges[n];
            if !edge.alive || edge.cut {
                return;
            }
            let usage = edge.usage(self.now);
            let mut next = self.cap.clone();
            let others = Others { elders: &[], dead: &dead };
            let answer = next.report(&edge.session, others, edge.terms, usage, at(0));
            if matches!(fate, Fate::Lost) {
                return;
            }
            self.cap = next;
            for edge in self.edges.iter_mut().filter(|e| !self.cap.nodes.contains_key(&e.session)) {
                edge.orphan = true;
            }
            let edge = &mut self.edges[n];
            if matches!(fate, Fate::Unanswered) {
                return;
            }
            edge.may = answer.may;
            edge.orphan &= edge.live > answer.held.threads;
            if answer.may.threads.max(edge.live) >= answer.held.threads {
                return;
            }
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let mut carried = 0;
        let mut orphans = 0;
        for edge in self.edges.iter().filter(|e| e.alive) {
            carried += edge.live;
            if edge.orphan {
                orphans += edge.live;
                continue;
            }
            let held = self.cap.nodes.get(&edge.session).map_or(0, |n| n.held);
            prop_assert!(edge.may.threads <= held, "{} allows itself {:?} of {held}", edge.session, edge.may);
            prop_assert!(edge.live <= held, "{} carries {} of {held}", edge.session, edge.live);
        }
        prop_assert!(carried <= self.most + orphans, "{carried} tunnels of {} and {orphans}", self.most);
        Ok(())
    }

    fn held(&self) -> u32 {
        self.cap.nodes.values().map(|n| n.held).sum()
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Report(usize, Fate),
    Open(usize),
    Close(usize),
    Die(usize),
    Restart(usize),
    Cut(usize),
    Heal(usize),
    /// The plan changes; edges hear of it one by one.
    Plan(u32),
    Hear(usize),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let edge = || 0..usize::from(EDGES);
    let fate = prop_oneof![6 => Just(Fate::Heard), 1 => Just(Fate::Lost), 1 => Just(Fate::Unanswered)];
    let step = prop_oneof![
        12 => (edge(), fate).prop_map(|(n, fate)| Step::Report(n, fate)),
        12 => edge().prop_map(Step::Open),
        6 => edge().prop_map(Step::Close),
        1 => edge().prop_map(Step::Die),
        2 => edge().prop_map(Step::Restart),
        1 => edge().prop_map(Step::Cut),
        2 => edge().prop_map(Step::Heal),
        1 => (1u32..12).prop_map(Step::Plan),
        3 => edge().prop_map(Step::Hear),
        2 => (1u64..20).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn what_edges_allow_themselves_fits_the_plan_at_every_instant(hard in 1u32..12, steps in steps()) {
        let mut f = Fleet::new(EDGES, hard);
        for step in steps {
            let before = f.held();
            match step {
                Step::Report(n, fate) => f.report(n, fate),
                Step::Open(n) => {
                    let edge = &mut f.edges[n];
                    if edge.alive {
                        edge.open();
                    }
                }
                Step::Close(n) => f.edges[n].live = f.edges[n].live.saturating_sub(1),
                Step::Die(n) => (f.edges[n].alive, f.edges[n].live) = (false, 0),
                Step::Restart(n) => {
                    let edge = &mut f.edges[n];
                    if !edge.alive {
                        let session = EdgeSession { epoch: edge.session.epoch + 1, ..edge.session.clone() };
                        *edge = Edge { session, ..Edge::new(0, f.terms) };
                    }
                }
                Step::Cut(n) => f.edges[n].cut = true,
                Step::Heal(n) => f.edges[n].cut = false,
                Step::Plan(hard) => {
                    f.terms = Terms { ver: f.terms.ver + 1, ..terms(hard, 0, 0) };
                    f.most = f.most.max(hard);
                }
                Step::Hear(n) => f.edges[n].terms = f.terms,
                Step::Pass(s) => f.now += Duration::from_secs(s),
            }
            f.check()?;
            let limit = f.cap.terms.limits.hard;
            prop_assert!(f.held() <= limit.max(before), "{before} held, then {} of {limit}", f.held());
        }
    }

    #[test]
    fn constant_demand_is_met_alike_and_the_limit_is_used(
        hard in 2u32..40,
        demands in prop::collection::vec(0u32..20, 2..5),
    ) {
        let count = u32::try_from(demands.len()).unwrap();
        prop_assume!(hard >= count);
        let mut f = Fleet::new(u8::try_from(count).unwrap(), hard);
        let mut served = vec![0; demands.len()];
        for _ in 0..40 {
            f.now += Duration::from_secs(5);
            for (n, demand) in demands.iter().enumerate() {
                // Short tunnels: all end, and as many come as there is demand.
                f.edges[n].live = 0;
                (0..*demand).for_each(|_| { f.edges[n].open(); });
                served[n] = f.edges[n].live;
                f.report(n, Fate::Heard);
                f.check()?;
            }
        }
        let sum = demands.iter().sum::<u32>();
        prop_assert_eq!(served.iter().sum::<u32>(), sum.min(hard), "{:?} of {:?}", served, demands);
        // Nobody goes short while another has more than one more.
        let short = served.iter().zip(&demands).filter(|(s, d)| s < d).map(|(s, _)| *s).min();
        let most = served.iter().max().copied().unwrap_or(0);
        prop_assert!(short.is_none_or(|short| most <= short + 1), "{served:?} of {demands:?}");
    }

    #[test]
    fn one_thread_goes_round_between_all_who_ask(count in 2u8..6, short in any::<bool>()) {
        let mut f = Fleet::new(count, 1);
        let mut turns = vec![0; usize::from(count)];
        for _ in 0..20 * u32::from(count) {
            f.now += Duration::from_secs(5);
            for (n, turns) in turns.iter_mut().enumerate() {
                f.edges[n].live = 0;
                *turns += u32::from(f.edges[n].open());
                if short {
                    // Another one is refused meanwhile, and all are over when it reports.
                    f.edges[n].open();
                    f.edges[n].live = 0;
                }
                f.report(n, Fate::Heard);
                f.check()?;
            }
        }
        prop_assert!(turns.iter().all(|t| *t >= 2), "{turns:?}");
    }

    #[test]
    fn without_demand_nothing_moves(hard in 1u32..20, in_use in prop::collection::vec(0u32..5, 2..5)) {
        let mut f = Fleet::new(u8::try_from(in_use.len()).unwrap(), hard);
        let round = |f: &mut Fleet| {
            f.now += Duration::from_secs(5);
            for (n, most) in in_use.iter().enumerate() {
                f.edges[n].live = f.edges[n].may.threads.min(*most);
                f.report(n, Fate::Heard);
            }
        };
        round(&mut f);
        round(&mut f);
        let before = f.cap.clone();
        for _ in 0..5 {
            round(&mut f);
            prop_assert!(f.cap.says_the_same_as(&before), "{before:?} became {:?}", f.cap);
        }
    }
}
