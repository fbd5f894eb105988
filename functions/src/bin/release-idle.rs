//! Every minute: closes lines whose time has come, gives back addresses that nobody needs.

use tollgate_functions::lambda::{self, Tick};
use tollgate_functions::release_idle::release_idle;
use tollgate_functions::wiring;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    let platform = wiring::start().await?;
    lambda::serve_events(platform, async |platform, _: Tick| Ok(release_idle(&platform).await?)).await
}
