//! Waiting for a condition, by looking at it.

use std::future::Future;
use std::time::Duration;

use crate::failure::Failure;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Longest wait for one condition; each is a second or two away when all is well.
const PATIENCE: Duration = Duration::from_secs(15);

/// Looks until `look` finds something.
///
/// # Errors
/// What `look` fails with, or that nothing was found in time.
pub async fn until<T, F, Fut>(what: &str, mut look: F) -> Result<T, Failure>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>, Failure>>,
{
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    let gone = |_| Failure::Demo(format!("waited {} s in vain for this: {what}", PATIENCE.as_secs()));
    found.await.map_err(gone)?
}
