//! Every hour: leases of periods that are long over, of edges that do not live, are lost.

use tollgate_functions::expire_leases::expire_leases;
use tollgate_functions::lambda::{self, Tick};
use tollgate_functions::wiring;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    let platform = wiring::start().await?;
    lambda::serve_events(platform, async |platform, _: Tick| match expire_leases(&platform).await? {
        run if run.failed == 0 => Ok(run),
        run => Err(format!("{} steps failed; the next run repeats them", run.failed).into()),
    })
    .await
}
