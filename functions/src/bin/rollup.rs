//! Every hour: days that nobody writes any more become one row for each customer.

use std::time::Duration;

use tollgate_functions::lambda::{self, Tick};
use tollgate_functions::rollup::rollup;
use tollgate_functions::wiring;

/// Well within the function's time; the next run goes on.
const WITHIN: Duration = Duration::from_secs(600);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    let platform = wiring::start().await?;
    lambda::serve_events(platform, async |platform, _: Tick| match rollup(&platform, WITHIN).await? {
        run if run.failed == 0 => Ok(run),
        run => Err(format!("{} days could not be added up; the next run repeats them", run.failed).into()),
    })
    .await
}
