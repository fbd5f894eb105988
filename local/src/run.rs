//! `tollgate` without a command: runs until a signal.

use std::io::Write as _;
use std::path::PathBuf;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::{Common, DEFAULT_DATA_DIR};
use crate::banner;
use crate::failure::Failure;
use crate::real_provider::RealProvider;
use crate::system::{Settings, System};

/// Starts everything, says so on standard output, and ends it when Ctrl-C or SIGTERM comes.
///
/// # Errors
/// What kept it from starting, or from ending with every byte settled.
pub async fn run(args: Common, edges: Option<u8>) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let settings = Settings {
        data_dir: args.data_dir.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR)),
        reset: args.reset,
        ports: args.ports(),
        real: RealProvider::read(|name| std::env::var(name).ok())?,
        price: None,
        linger: None,
        edges,
    };
    let system = tokio::select! {
        started = System::start(settings) => started?,
        () = signals.any() => return Ok(()),
    };
    let text = banner::render(&system.at, &system.places, &system.keys, system.dir.path(), system.real);
    // Who closed our standard output still wants the proxy.
    let _ = std::io::stdout().lock().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush());
    signals.any().await;
    tracing::info!("draining");
    tokio::select! {
        ended = system.shutdown() => ended,
        // What is counted and not settled lies in the journal.
        () = signals.any() => Err(Failure::part("the drain", "cut short by a second signal; the next start settles")),
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let on = |kind| signal(kind).map_err(|e| Failure::part("signals", e));
        Ok(Self { interrupt: on(SignalKind::interrupt())?, terminate: on(SignalKind::terminate())? })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
