//! What real tables do and the engine never would.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::operation::Answer;

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: the call goes through. For "the third one fails".
    Pass,
    /// Another transaction holds an item: nothing is applied. A transaction is cancelled with
    /// `TransactionConflict`, a single write gets `TransactionConflictException`.
    Conflict,
    /// Nothing is applied; the SDK repeats it.
    Throttle,
    /// Applied, and the connection breaks before the answer arrives; the SDK repeats it.
    LostAck,
    /// Not applied: the request is lost, and the caller sees a timeout; the SDK repeats it.
    Timeout,
    /// Applied after this time.
    Delay(Duration),
}

/// One fault of a script and the calls it may hit.
#[derive(Clone, Debug)]
pub struct Step {
    fault: Fault,
    operation: Option<String>,
    table: Option<String>,
}

impl Step {
    /// This operation only, as AWS spells it: `TransactWriteItems`.
    #[must_use]
    pub fn on(mut self, operation: &str) -> Self {
        self.operation = Some(operation.to_owned());
        self
    }

    /// Calls that name this table only.
    #[must_use]
    pub fn table(mut self, name: &str) -> Self {
        self.table = Some(name.to_owned());
        self
    }

    fn hits(&self, operation: &str, tables: &[String]) -> bool {
        (self.fault != Fault::Conflict || can_conflict(operation))
            && self.operation.as_ref().is_none_or(|o| o == operation)
            && self.table.as_ref().is_none_or(|t| tables.contains(t))
    }
}

impl From<Fault> for Step {
    fn from(fault: Fault) -> Self {
        Self { fault, operation: None, table: None }
    }
}

/// How many of 1000 calls suffer what; their sum is at most 1000.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// [`Fault::Conflict`]; reads are spared.
    pub conflict: u16,
    /// [`Fault::Throttle`].
    pub throttle: u16,
    /// [`Fault::LostAck`].
    pub lost_ack: u16,
    /// [`Fault::Timeout`].
    pub timeout: u16,
    /// [`Fault::Delay`] of up to `longest_delay`.
    pub delay: u16,
    /// The longest delay.
    pub longest_delay: Duration,
}

/// How many faults were injected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// [`Fault::Conflict`].
    pub conflict: u64,
    /// [`Fault::Throttle`].
    pub throttle: u64,
    /// [`Fault::LostAck`].
    pub lost_ack: u64,
    /// [`Fault::Timeout`].
    pub timeout: u64,
    /// [`Fault::Delay`].
    pub delay: u64,
}

impl Injected {
    fn count(&mut self, fault: Fault) {
        match fault {
            Fault::Pass => {}
            Fault::Conflict => self.conflict += 1,
            Fault::Throttle => self.throttle += 1,
            Fault::LostAck => self.lost_ack += 1,
            Fault::Timeout => self.timeout += 1,
            Fault::Delay(_) => self.delay += 1,
        }
    }

    /// Of all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.conflict + self.throttle + self.lost_ack + self.timeout + self.delay
    }
}

/// A plan of faults, shared by any number of clients and calls.
#[derive(Debug)]
pub struct Faults {
    plan: Mutex<Plan>,
}

#[derive(Debug)]
struct Plan {
    calls: u64,
    dies: Option<Death>,
    script: VecDeque<Step>,
    random: Option<(SplitMix, Rates)>,
    injected: Injected,
}

/// The end of a process, as its store sees it.
#[derive(Clone, Copy, Debug)]
struct Death {
    after: u64,
    torn: bool,
}

impl Faults {
    /// The process dies: after this many calls nothing goes through any more. `torn`: the first
    /// call that fails is applied, and its answer is lost.
    #[must_use]
    pub fn death(after: u64, torn: bool) -> std::sync::Arc<Self> {
        let faults = Self::of(VecDeque::new(), None);
        faults.plan().dies = Some(Death { after, torn });
        faults
    }

    /// These faults in this order: each call suffers the first step left that may hit it.
    /// Afterwards, and from the start if there are none, everything goes well until
    /// [`Faults::push`].
    #[must_use]
    pub fn script(steps: impl IntoIterator<Item = impl Into<Step>>) -> std::sync::Arc<Self> {
        Self::of(steps.into_iter().map(Into::into).collect(), None)
    }

    /// Faults at these rates. The same seed gives the same faults to the same order of calls.
    #[must_use]
    pub fn random(seed: u64, rates: Rates) -> std::sync::Arc<Self> {
        Self::of(VecDeque::new(), Some((SplitMix(seed), rates)))
    }

    fn of(script: VecDeque<Step>, random: Option<(SplitMix, Rates)>) -> std::sync::Arc<Self> {
        let plan = Plan { calls: 0, dies: None, script, random, injected: Injected::default() };
        std::sync::Arc::new(Self { plan: Mutex::new(plan) })
    }

    /// One more step at the end of the script; a script goes before chance.
    pub fn push(&self, step: impl Into<Step>) {
        self.plan().script.push_back(step.into());
    }

    /// From now on nothing goes through, until [`Faults::stop`]: the network is cut.
    pub fn cut(&self) {
        let mut plan = self.plan();
        plan.dies = Some(Death { after: plan.calls, torn: false });
    }

    /// From now on everything goes well: what is left of the script and of chance is dropped.
    pub fn stop(&self) {
        let mut plan = self.plan();
        plan.script.clear();
        plan.random = None;
        plan.dies = None;
    }

    /// What was injected so far.
    #[must_use]
    pub fn injected(&self) -> Injected {
        self.plan().injected
    }

    /// Steps of the script that no call has met yet.
    #[must_use]
    pub fn left(&self) -> usize {
        self.plan().script.len()
    }

    pub(crate) fn next(&self, operation: &str, tables: &[String]) -> Option<Fault> {
        let mut plan = self.plan();
        plan.calls += 1;
        if let Some(Death { after, torn }) = plan.dies.filter(|d| plan.calls > d.after) {
            let last = torn && plan.calls == after + 1;
            let fault = if last { Fault::LostAck } else { Fault::Timeout };
            plan.injected.count(fault);
            return Some(fault);
        }
        let scripted = plan.script.iter().position(|s| s.hits(operation, tables));
        let fault = match scripted.and_then(|at| plan.script.remove(at)) {
            Some(step) => Some(step.fault),
            None => plan.random.as_mut().and_then(|(rng, rates)| rates.pick(rng, operation)),
        }?;
        plan.injected.count(fault);
        Some(fault)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rates {
    fn pick(&self, rng: &mut SplitMix, operation: &str) -> Option<Fault> {
        let roll = rng.next() % 1000;
        // Drawn for every call, so that one fault's kind does not shift the sequence after it.
        let nanos = u64::try_from(self.longest_delay.as_nanos()).unwrap_or(u64::MAX);
        let delay = Duration::from_nanos(rng.next() % nanos.saturating_add(1).max(1));
        let kinds = [
            (self.conflict, Fault::Conflict),
            (self.throttle, Fault::Throttle),
            (self.lost_ack, Fault::LostAck),
            (self.timeout, Fault::Timeout),
            (self.delay, Fault::Delay(delay)),
        ];
        let mut below = 0;
        let fault = kinds.into_iter().find_map(|(rate, fault)| {
            below += u64::from(rate);
            (roll < below).then_some(fault)
        })?;
        (fault != Fault::Conflict || can_conflict(operation)).then_some(fault)
    }
}

/// Single reads and batches never answer with a conflict.
fn can_conflict(operation: &str) -> bool {
    matches!(operation, "TransactWriteItems" | "TransactGetItems" | "PutItem" | "UpdateItem" | "DeleteItem")
}

/// The answer of a call that met another transaction.
pub(crate) fn conflict(operation: &str, request: &Value) -> Answer {
    if !operation.starts_with("Transact") {
        return Answer::error("TransactionConflictException", "Transaction is ongoing for the item");
    }
    let items = request["TransactItems"].as_array().map_or(1, Vec::len);
    let codes = (0..items).map(|i| if i == 0 { "TransactionConflict" } else { "None" }).collect::<Vec<_>>();
    let reasons = codes.iter().map(|code| match *code {
        "None" => json!({ "Code": code }),
        _ => json!({ "Code": code, "Message": "Transaction is ongoing for the item" }),
    });
    let body = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": format!(
            "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
            codes.join(", ")
        ),
        "CancellationReasons": reasons.collect::<Vec<_>>(),
    });
    Answer { status: 400, body: body.to_string() }
}

/// Steele, Lea and Flood's generator: small, and good enough to pick faults.
#[derive(Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64) -> Vec<Option<Fault>> {
        let rates = Rates {
            conflict: 200,
            throttle: 100,
            lost_ack: 100,
            timeout: 100,
            delay: 100,
            longest_delay: Duration::from_millis(5),
        };
        let faults = Faults::random(seed, rates);
        (0..1000).map(|_| faults.next("PutItem", &[])).collect()
    }

    #[test]
    fn one_seed_gives_one_sequence_at_about_its_rates() {
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        let conflicts = drawn(7).iter().filter(|f| **f == Some(Fault::Conflict)).count();
        assert!((150..250).contains(&conflicts), "{conflicts} of 1000 at 20 %");
        assert!(drawn(7).iter().flatten().all(|f| !matches!(f, Fault::Delay(d) if *d > Duration::from_millis(5))));
    }

    #[test]
    fn a_step_waits_for_a_call_that_it_may_hit() {
        let faults =
            Faults::script([Step::from(Fault::Conflict), Step::from(Fault::Throttle).on("Query").table("usage")]);
        let usage = ["usage".to_owned()];
        assert_eq!(faults.next("GetItem", &usage), None, "a read cannot conflict");
        assert_eq!(faults.next("Query", &["billing".to_owned()]), None);
        assert_eq!(faults.next("Query", &usage), Some(Fault::Throttle));
        assert_eq!(faults.next("PutItem", &usage), Some(Fault::Conflict));
        assert_eq!((faults.left(), faults.injected().total()), (0, 2));
    }

    #[test]
    fn after_a_death_nothing_goes_through() {
        let faults = Faults::death(2, true);
        let got: Vec<_> = (0..5).map(|_| faults.next("PutItem", &[])).collect();
        assert_eq!(got, [None, None, Some(Fault::LostAck), Some(Fault::Timeout), Some(Fault::Timeout)]);
        let faults = Faults::death(0, false);
        assert_eq!(faults.next("Query", &[]), Some(Fault::Timeout));
        assert_eq!(faults.injected(), Injected { timeout: 1, ..Injected::default() });
        faults.stop();
        assert_eq!(faults.next("Query", &[]), None);
        faults.cut();
        assert_eq!(faults.next("Query", &[]), Some(Fault::Timeout));
        faults.stop();
        assert_eq!(faults.next("Query", &[]), None);
    }

    #[test]
    fn what_is_stopped_stays_quiet_until_it_is_told_otherwise() {
        let faults = Faults::random(1, Rates { throttle: 1000, ..Rates::default() });
        assert_eq!(faults.next("GetItem", &[]), Some(Fault::Throttle));
        faults.stop();
        assert_eq!(faults.next("GetItem", &[]), None);
        faults.push(Fault::Pass);
        assert_eq!(faults.next("GetItem", &[]), Some(Fault::Pass));
        assert_eq!(faults.injected(), Injected { throttle: 1, ..Injected::default() });
    }
}
