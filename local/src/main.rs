//! `tollgate`: see `tollgate --help`.

use std::process::ExitCode;

use clap::Parser as _;
use tollgate_local::args::{Cli, Command};
use tollgate_local::{demo, log, run};

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { command, common } = Cli::parse();
    let ended = match command {
        None => {
            log::start(common.log, "info");
            run::run(common).await
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
