//! The edge beside other proxies on one machine in one run: what a GiB, a CONNECT, a request and
//! an idle tunnel cost the proxy, in processor time, instructions (where the machine counts them)
//! and resident memory.
//!
//! ```text
//! cargo bench -p tollgate-edge --bench compare -- [LOAD…] [--contenders A,B] [--rounds N]
//!                                                 [--gib N] [--ops N] [--quick] [--markdown]
//! cargo bench -p tollgate-edge --bench compare -- --check      few bytes, one round: does it still work?
//! ```
//!
//! client → proxy under test → upstream proxy with other credentials, and the origin behind it. The
//! proxy has the first processor to itself; client, upstream and the edge's store share the others.
//! The upstream and its origin are one process: the proxy cannot tell, and on a small machine a
//! further hop would starve the side that makes the load. What each contender does and does not
//! do is said in its file under `contenders/`, and printed above the table.
//!
//! The client asserts every byte count. Processor time is what the scheduler charged to all
//! threads of the proxy (`/proc/<pid>/task/*/schedstat`), kernel side included. Each measurement has a
//! fresh process, warmed up; contenders alternate within each round; a cell is the median of the
//! rounds, and the ratio in brackets the median of the rounds' ratios to the bare splice relay.
//!
//! `rows-10000` looks at the edge alone: what 10,000 rows in its upstream file take up, and what
//! small exchanges take while 100 of them change each second (a new file and SIGHUP), and while none does.

// What a bench cannot do fails the bench.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod client;
mod cloud;
mod contenders;
mod cores;
mod loads;
mod measure;
mod origin;
mod process;
mod rows;
mod run;
mod table;
mod upstream;

use std::process::ExitCode;

/// Whatever goes wrong ends the run, with words.
pub type Res<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["--role", role, rest @ ..] => process::play(role, rest),
        _ => args::parse(&words).and_then(|todo| match todo {
            args::Todo::List(text) => {
                print!("{text}");
                Ok(())
            }
            args::Todo::Run(plan) => run::all(&plan),
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("compare: {e}");
            ExitCode::FAILURE
        }
    }
}
