//! Nodes, the store's model and the network between them; one step at a time, by the dice.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tollgate_domain::budget::Bucket;
use tollgate_domain::id::EdgeSession;
use tollgate_domain::time::Timestamp;

use crate::call::Sent;
use crate::dice::Dice;
use crate::faults::Fate;
use crate::invariants::Truth;
use crate::life::Doing;
use crate::node::{Node, Now};
use crate::planted::Planted;
use crate::store_model::{Model, Terms};

/// An invariant that does not hold, and how to see it again.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The run.
    pub seed: u64,
    /// The step after which it does not.
    pub step: u32,
    /// Which, and what is there instead.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, step, what } = self;
        write!(f, "seed {seed}, step {step}: {what}\nreplay: TOLLGATE_SIM_SEED={seed} ")?;
        write!(f, "cargo test -p tollgate-domain --test simulation replay -- --nocapture")
    }
}

/// How often each thing was met.
pub type Met = BTreeMap<&'static str, u64>;

/// See the module.
pub struct World {
    pub(crate) dice: Dice,
    pub(crate) model: Model,
    pub(crate) nodes: Vec<Node>,
    pub(crate) truth: Truth,
    pub(crate) met: Met,
    pub(crate) buckets: Vec<Bucket>,
    pub(crate) planted: Option<Planted>,
    /// Without crashes and losses: every end is clean.
    pub(crate) calm: bool,
    /// Writes that may still arrive, though nobody waits for them.
    pub(crate) copies: Vec<Sent>,
    /// Leases that are closed for good: nothing of theirs arrives any more.
    pub(crate) over: BTreeSet<u64>,
    pub(crate) serials: u64,
    base: Timestamp,
    /// Milliseconds since the beginning.
    real: u64,
    seed: u64,
    step: u32,
    /// Something was written or moved since the invariants were last checked.
    pub(crate) changed: bool,
    loud: bool,
}

impl World {
    /// The beginning of a run.
    pub fn new(seed: u64, planted: Option<Planted>, loud: bool) -> Self {
        let mut dice = Dice::new(seed);
        let nodes = match dice.roll(20) {
            0 => 13 + dice.index(38),
            1..=4 => 5 + dice.index(8),
            _ => 1 + dice.index(4),
        };
        // A minute before the end of January, or in the middle of it.
        let base = Timestamp::from_secs([1_769_903_940, 1_768_478_400][dice.index(2)]);
        let nodes = (0..nodes)
            .map(|n| Node::new(n, 1 + dice.index(2), i64::try_from(dice.roll(2000)).unwrap_or(0) - 1000))
            .collect();
        let calm = dice.one_in(4);
        let mut world = Self {
            dice,
            model: Model::default(),
            nodes,
            truth: Truth::default(),
            met: Met::new(),
            buckets: Vec::new(),
            planted,
            calm,
            copies: Vec::new(),
            over: BTreeSet::new(),
            serials: 0,
            base,
            real: 0,
            seed,
            step: 0,
            changed: true,
            loud,
        };
        world.make_buckets();
        world
    }

    /// A plan's bucket, which may end within the run, and perhaps a pack.
    fn make_buckets(&mut self) {
        let second = |s: u64| self.base.plus(std::time::Duration::from_secs(s));
        let ends = if self.dice.one_in(3) { 5 + self.dice.roll(40) } else { 1_000_000 };
        let (plan, pack) = (Bucket::Plan { start: self.base }, Bucket::Pack { expires: second(500), pack: "p".into() });
        let far = std::time::Duration::from_secs(1_000_000);
        let terms = |until| Terms { plan_ver: 1, spend_from: self.base.minus(far), spend_until: until };
        let mut buckets = vec![(plan, terms(second(ends)))];
        if self.dice.one_in(2) {
            buckets.push((pack, terms(second(1_000_000))));
        }
        for (n, (bucket, terms)) in buckets.into_iter().enumerate() {
            // Half of them run dry within the run.
            let most = if self.dice.one_in(2) { 6 << 20 } else { 512 << 10 };
            let bytes = self.dice.roll(most);
            self.model.grant(&bucket, &format!("first{n}"), bytes, terms);
            self.buckets.push(bucket);
        }
    }

    /// Plays `steps` steps and lets all come to rest.
    pub fn run(&mut self, steps: u32) -> Result<(), Violation> {
        for n in 0..self.nodes.len() {
            if !self.dice.one_in(8) {
                let now = self.now(n);
                self.nodes[n].start(now);
            }
        }
        let played = (0..steps).try_for_each(|_| self.play());
        played.and_then(|()| self.come_to_rest()).map_err(|what| Violation { seed: self.seed, step: self.step, what })
    }

    fn play(&mut self) -> Result<(), String> {
        self.step += 1;
        self.real += if self.dice.one_in(20) { 5000 } else { self.dice.roll(300) };
        let n = self.dice.index(self.nodes.len());
        match self.dice.roll(100) {
            0..45 => self.traffic(n),
            45..91 => self.books(n, None)?,
            91..95 => self.arrive(),
            _ => {
                self.changed = true;
                self.mishap(n);
            }
        }
        self.check()
    }

    fn check(&mut self) -> Result<(), String> {
        if std::mem::take(&mut self.changed) { self.truth.check(&self.model) } else { Ok(()) }
    }

    /// One worker of a node moves one step on.
    fn traffic(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let worker = self.dice.index(node.workers);
        let Some(life) = &mut node.life else { return };
        if let Some((bucket, moved)) = life.traffic(worker, &mut self.dice, self.planted) {
            self.changed = true;
            self.truth.bytes.entry(bucket).or_default().moved += moved;
            self.say(|| format!("e{n} worker {worker} moves {moved}"));
        }
    }

    /// Faults end, everybody leaves; what crashed is settled, what is gone is declared lost.
    fn come_to_rest(&mut self) -> Result<(), String> {
        for _ in 0..400 {
            for session in self.truth.orphans.clone() {
                self.declare_lost(&session);
            }
            self.step += 1;
            self.real += 100;
            self.arrive();
            self.check()?;
            let mut at_rest = self.copies.is_empty();
            for n in 0..self.nodes.len() {
                at_rest &= !self.leave(n)?;
            }
            if at_rest {
                return self.truth.check_at_rest(&self.model);
            }
        }
        Err("it never came to rest".to_owned())
    }

    /// One step of a node towards its end; whether there was one to do.
    fn leave(&mut self, n: usize) -> Result<bool, String> {
        let now = self.now(n);
        let node = &mut self.nodes[n];
        node.cut = false;
        let workers = node.workers;
        let Some(life) = &mut node.life else {
            let left = !node.left.is_empty();
            if left {
                node.start(now);
            }
            return Ok(left);
        };
        life.leaving = true;
        for worker in 0..workers {
            if life.doing[worker] != Doing::Nothing
                && let Some((bucket, moved)) = life.traffic(worker, &mut self.dice, self.planted)
            {
                self.changed = true;
                self.truth.bytes.entry(bucket).or_default().moved += moved;
            }
        }
        self.books(n, Some(Fate::Clean))?;
        self.check()?;
        Ok(true)
    }

    /// Notes that something happened to a node.
    pub(crate) fn meet(&mut self, n: usize, what: &'static str) {
        *self.met.entry(what).or_default() += 1;
        self.say(|| format!("e{n} {what}"));
    }

    /// What the time is for a node.
    pub(crate) fn now(&self, n: usize) -> Now {
        self.nodes[n].now(self.base, self.real)
    }

    /// A name that no grant has had.
    pub(crate) fn source(&self) -> String {
        format!("s{}", self.step)
    }

    /// What a crashed process had sent may still arrive.
    pub(crate) fn keep_under_way(&mut self, sent: Sent) {
        self.copies.push(sent);
    }

    /// Applies what a crashed process had sent, though nobody hears the answer.
    pub(crate) fn apply_unheard(&mut self, sent: &Sent) {
        self.apply(sent);
    }

    /// Drops what ends with its life.
    pub(crate) fn end_connections_of(&mut self, session: &EdgeSession) {
        self.copies.retain(|c| c.session != *session || !c.call.ends_with_its_life());
    }

    pub(crate) fn say(&self, what: impl FnOnce() -> String) {
        if self.loud {
            eprintln!("{:>4} {:>7} ms  {}", self.step, self.real, what());
        }
    }
}
