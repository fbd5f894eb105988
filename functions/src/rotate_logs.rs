//! Story: an operator has all edges begin new access logs.

use serde_json::json;
use tollgate_domain::feed::Command;
use tollgate_domain::refusal::Refusal;

use crate::outcome::store;
use crate::platform::Platform;
use crate::trail::{By, NOTHING};

/// Tells all edges. Twice is no harm: a log that was just begun is begun again.
///
/// # Errors
/// `STORE_UNAVAILABLE`.
pub async fn rotate_logs(platform: &Platform, by: &By) -> Result<(), Refusal> {
    let command = Command::RotateLogs { at: by.at };
    platform.store.announce_command(&command, platform.now()).await.map_err(store)?;
    by.record(platform, "logs.rotate", "edges", NOTHING, NOTHING).await?;
    platform.emit("logs.rotate", json!({ "by": by.actor })).await;
    Ok(())
}
