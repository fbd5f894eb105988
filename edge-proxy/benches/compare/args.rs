//! What is asked for on the command line.

use crate::Res;
use crate::contenders::Contender;
use crate::loads::Load;

/// The name under which a test runner finds the check.
const CHECK: &str = "check";

/// What to do.
pub enum Todo {
    /// Tell a test runner what there is.
    List(String),
    /// Measure.
    Run(Plan),
}

/// What to measure.
pub struct Plan {
    pub loads: Vec<Load>,
    pub contenders: Vec<Contender>,
    pub rounds: usize,
    /// Bytes of one bulk measurement.
    pub bulk: u64,
    /// Operations of one measurement of operations.
    pub ops: usize,
    /// Bytes of the measurement under a bandwidth limit.
    pub limited: u64,
    pub markdown: bool,
    /// Only whether all works.
    pub check: bool,
}

const GIB: u64 = 1 << 30;

impl Plan {
    fn full() -> Self {
        Self {
            loads: Load::ALL.to_vec(),
            contenders: Contender::ALL.to_vec(),
            rounds: 3,
            bulk: 4 * GIB,
            ops: 6_000,
            limited: 125_000_000,
            markdown: false,
            check: false,
        }
    }

    fn quick(self) -> Self {
        Self { rounds: 1, bulk: GIB / 2, ops: 1_000, limited: 25_000_000, ..self }
    }

    /// Small enough for a debug build among other tests.
    fn check(self) -> Self {
        let loads = Load::CHECK.to_vec();
        Self { loads, rounds: 1, bulk: 2 << 20, ops: 32, limited: 1 << 20, check: true, ..self }
    }
}

/// Reads the command line. Without `--bench`, which `cargo bench` passes, this is a test run: the check.
///
/// # Errors
/// An unknown word, with those that are known.
pub fn parse(words: &[&str]) -> Res<Todo> {
    if words.contains(&"--list") {
        let ignored = words.contains(&"--ignored");
        return Ok(Todo::List(if ignored { String::new() } else { format!("{CHECK}: test\n") }));
    }
    let bench = words.contains(&"--bench");
    let mut plan = Plan::full();
    if !bench || words.contains(&"--check") {
        return Ok(Todo::Run(plan.check()));
    }
    if words.contains(&"--quick") {
        plan = plan.quick();
    }
    let mut loads = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match *word {
            "--bench" | "--quick" => {}
            "--markdown" => plan.markdown = true,
            "--rounds" => plan.rounds = value()?.parse::<usize>()?.max(1),
            "--gib" => plan.bulk = value()?.parse::<u64>()?.max(1) * GIB,
            "--ops" => plan.ops = value()?.parse::<usize>()?.max(16),
            "--contenders" => plan.contenders = value()?.split(',').map(Contender::named).collect::<Res<_>>()?,
            load => loads.push(Load::named(load)?),
        }
    }
    if !loads.is_empty() {
        plan.loads = loads;
    }
    Ok(Todo::Run(plan))
}
