//! Every day: makes the customers' buckets of the period, and of the next one ahead of time.

use tollgate_functions::create_budgets::create_budgets;
use tollgate_functions::lambda::{self, Tick};
use tollgate_functions::wiring;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    let platform = wiring::start().await?;
    lambda::serve_events(platform, async |platform, _: Tick| match create_budgets(&platform).await? {
        run if run.failed == 0 => Ok(run),
        run => Err(format!("{} of {} customers got no budget", run.failed, run.customers).into()),
    })
    .await
}
