//! `tollgate demo`: plays the main story through the same code and real sockets, and prints its
//! receipt. The wall clock jumps when all is quiet; timers of tunnels run true.

mod bill;
mod client;
mod counts;
mod receipt;
mod story;
mod watch;

use std::io::Write as _;
use std::time::Duration;

pub use client::Bytes;
pub use receipt::{Bill, Bought, Counted, HopShown, Receipt, Step};

use crate::args::{Common, DemoArgs};
use crate::failure::Failure;
use crate::system::{DATABASE, Settings, System};

/// How long the demo's edge waits after a line's last tunnel. A true timer, and the only setting
/// in which the demo differs from a run: thirty seconds of silence show nobody anything.
const LINGER: Duration = Duration::from_millis(500);

/// Plays the story and prints the receipt.
///
/// # Errors
/// A system that does not start, a story that goes wrong, figures that do not agree.
pub async fn run(args: DemoArgs, common: Common) -> Result<(), Failure> {
    let temporary;
    let data_dir = match &common.data_dir {
        Some(dir) => dir.clone(),
        None => {
            temporary = tempfile::tempdir().map_err(|e| Failure::part("a temporary folder", e))?;
            temporary.path().to_owned()
        }
    };
    if data_dir.join(DATABASE).exists() && !common.reset {
        return Err(Failure::Used(data_dir));
    }
    let settings = Settings {
        data_dir,
        reset: common.reset,
        ports: common.free_ports(),
        real: None,
        price: Some(args.price),
        linger: Some(LINGER),
        edges: None,
    };
    let system = System::start(settings).await?;
    let played = tokio::select! {
        played = story::play(&system) => played,
        _ = tokio::signal::ctrl_c() => Err(Failure::Demo("interrupted".into())),
    };
    let ended = system.shutdown().await;
    let receipt = played?;
    ended?;
    print(&receipt, args.json)?;
    match receipt.problems.len() {
        0 => Ok(()),
        n => Err(Failure::Demo(format!("{n} figure(s) do not agree"))),
    }
}

fn print(receipt: &Receipt, json: bool) -> Result<(), Failure> {
    let mut text = match json {
        true => serde_json::to_string_pretty(receipt).map_err(|e| Failure::part("the receipt", e))?,
        false => receipt.render(),
    };
    text.push('\n');
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(|e| Failure::part("standard output", e))
}
