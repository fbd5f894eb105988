//! The edge as a program: settings from a file and the environment, then one [`crate::Edge`] until
//! SIGTERM, or until a successor has taken over. In the library, so that a local run can start
//! edges as processes of its own executable.

mod listening;
mod serve;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::config::{Problems, Settings, Sources};

/// The command line or the configuration is wrong (sysexits: EX_USAGE).
const BAD_CONFIG: u8 = 64;

/// Tollgate's edge: the proxy that customers connect to.
///
/// Settings come from a TOML file and from the environment, which wins; docs/CONFIG.md has every
/// key. SIGTERM drains and ends, SIGHUP reads the settings again, SIGUSR1 opens the access log
/// again, SIGUSR2 starts a successor that takes the listening sockets over.
#[derive(Clone, Debug, Parser)]
#[command(name = "tollgate-edge", version)]
struct Args {
    /// The configuration file; without it, what TOLLGATE_EDGE_CONFIG names, if anything
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Print the settings that hold, and who set them, or all that is wrong with them; then end
    #[arg(long)]
    check_config: bool,
    /// Fail unless a running edge hands its listening sockets over (without this: take them over
    /// if one does, else listen)
    #[arg(long)]
    takeover: bool,
}

impl Args {
    fn settings(&self) -> Result<Settings, Problems> {
        Settings::read(&Sources::of_process(self.config.clone()).map_err(|p| Problems(vec![p]))?)
    }
}

/// Runs the program to its end: `args` are the words it was started with, its own name first. It
/// starts a runtime and the log itself, and takes the process's signals. A successor is started
/// with the process's own words.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(e) => {
            let _ = e.print();
            return if e.use_stderr() { ExitCode::from(BAD_CONFIG) } else { ExitCode::SUCCESS };
        }
    };
    if args.check_config {
        return check(&args);
    }
    let filter = EnvFilter::try_from_env("TOLLGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_writer(std::io::stderr).init();
    let settings = match args.settings() {
        Ok(settings) => settings,
        Err(problems) => {
            for problem in problems.0 {
                tracing::error!(%problem, "bad configuration");
            }
            return ExitCode::from(BAD_CONFIG);
        }
    };
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|rt| rt.block_on(serve::run(&args, settings)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!(error = %e, "edge failed");
            ExitCode::FAILURE
        }
    }
}

fn check(args: &Args) -> ExitCode {
    let checked = args.settings().and_then(|s| match s.unreadable_files() {
        bad if bad.is_empty() => Ok(s),
        bad => Err(Problems(bad)),
    });
    match checked {
        Ok(settings) => {
            let _ = std::io::stdout().write_all(settings.show().as_bytes());
            ExitCode::SUCCESS
        }
        Err(problems) => {
            let _ = writeln!(std::io::stderr(), "{problems}");
            ExitCode::from(BAD_CONFIG)
        }
    }
}
