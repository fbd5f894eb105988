//! The edge as a program: settings from the environment, then one [`Edge`] until SIGTERM.

use std::net::TcpListener;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tollgate_edge::config::Settings;
use tollgate_edge::{Edge, aws};
use tracing_subscriber::EnvFilter;

/// The command line or the environment is wrong (sysexits: EX_USAGE).
const BAD_CONFIG: u8 = 64;

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("TOLLGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_writer(std::io::stderr).init();
    let settings = match Settings::from_env(|key| std::env::var(key).ok()) {
        Ok(settings) => settings,
        Err(e) => {
            tracing::error!(error = %e, "bad configuration");
            return ExitCode::from(BAD_CONFIG);
        }
    };
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|rt| rt.block_on(run(settings)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!(error = %e, "edge failed");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: Settings) -> Result<(), Box<dyn std::error::Error>> {
    let bind = |addr| TcpListener::bind(addr).map_err(|e| format!("cannot listen on {addr}: {e}"));
    let (gateway, admin) = (bind(settings.gateway)?, bind(settings.admin)?);
    let mut stop = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let deps = aws::deps(&settings).await?;
    let edge = Edge::start(settings.edge, deps, gateway, admin).await?;
    tokio::select! {
        _ = stop.recv() => {}
        _ = interrupt.recv() => {}
    }
    edge.drain(settings.drain).await?;
    Ok(())
}
