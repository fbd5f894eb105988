//! The rounds: contenders take turns under each load, so that a slow moment of the machine falls
//! on all of them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Res;
use crate::args::Plan;
use crate::contenders::Contender;
use crate::cores::{Cores, Place};
use crate::loads::Load;
use crate::measure::counts_instructions;
use crate::process::Process;
use crate::table::{Results, print};

/// Descriptors that are no tunnel's.
const SPARE: u64 = 1000;

/// Runs the plan and prints its table.
///
/// # Errors
/// If the run cannot begin, or, in a check, if anything fails.
pub fn all(plan: &Plan) -> Res<()> {
    let descriptors = raise_descriptors()?;
    let cores = Cores::split()?;
    cores.settle()?;
    if !cores.apart {
        eprintln!("one processor only: the proxy shares it with what loads it");
    }
    let count = counts_instructions();
    let mut contenders = plan.contenders.clone();
    contenders.retain(|c| match c.missing() {
        Some(why) => {
            eprintln!("without {}: {why}", c.name());
            false
        }
        None => true,
    });
    let mut results = Results::new(&contenders, count);
    for round in 0..plan.rounds {
        for load in &plan.loads {
            if let Load::Idle(n) = load
                && 2 * *n as u64 + SPARE > descriptors
            {
                eprintln!("without {}: {descriptors} descriptors are too few", load.name());
                continue;
            }
            // Who comes first changes.
            let turns = (0..contenders.len()).map(|i| contenders[(i + round) % contenders.len()]);
            for contender in turns.filter(|c| load.suits(*c)) {
                eprintln!("round {} of {}: {} {}", round + 1, plan.rounds, load.name(), contender.name());
                match one(&cores, *load, contender, plan, count) {
                    Ok(figures) => results.take(*load, contender, round, &figures),
                    Err(e) if plan.check => return Err(format!("{} {}: {e}", load.name(), contender.name()).into()),
                    Err(e) => {
                        eprintln!("  failed: {e}");
                        results.fail(*load, contender);
                    }
                }
            }
        }
    }
    print(&results, plan.markdown);
    Ok(())
}

fn one(cores: &Cores, load: Load, contender: Contender, plan: &Plan, count: bool) -> Res<Vec<crate::loads::Figure>> {
    // A runtime of its own: what is left of a load ends with it.
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (_upstream, at) = Process::role(cores, Place::Others, "upstream", &[])?;
    let proxy = contender.start(cores, at[0])?;
    load.run(&rt, &proxy, plan, count)
}

/// As many descriptors as the system allows; children inherit the limit.
fn raise_descriptors() -> Res<u64> {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(1 << 20);
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum })?;
    Ok(most)
}
