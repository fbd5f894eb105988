//! `tollgate`: see `tollgate --help`.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use tollgate_local::args::{Cli, Command};
use tollgate_local::{demo, edge_process, log, run};

fn main() -> ExitCode {
    // Before there is a runtime: an edge has one of its own.
    match edge_process::words() {
        Some(words) => edge_process::main(words),
        None => tollgate(),
    }
}

#[tokio::main]
async fn tollgate() -> ExitCode {
    let Cli { command, edges, common } = Cli::parse();
    let ended = match command {
        None => {
            log::start(common.log, "info");
            run::run(common, edges).await
        }
        Some(Command::Demo(_)) if edges.is_some() => {
            Cli::command().error(ErrorKind::ArgumentConflict, "--edges: the demo has one edge").exit()
        }
        Some(Command::Demo(demo)) => {
            log::start(common.log, "error");
            demo::run(demo, common).await
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("tollgate: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
