//! Story: an operator takes an edge out of service. It accepts no more, its tunnels finish or are
//! cut, its leases close; and it stays there, so that everybody sees when it is done.

use serde_json::json;
use tollgate_domain::feed::Command;
use tollgate_domain::id::{EdgeId, EdgeSession};
use tollgate_domain::refusal::{Code, Refusal};

use super::{LifeState, row, state};
use crate::outcome::store;
use crate::platform::Platform;
use crate::trail::{By, NOTHING};

/// Tells the life in force of `edge` to drain, and to cut tunnels after `within_s` seconds.
/// `epoch`: only if that is the life in force. Telling it twice is no harm.
///
/// # Errors
/// `NOT_FOUND`; `CONFLICT`: another life is in force, or it has ended or is lost;
/// `STORE_UNAVAILABLE`.
pub async fn drain(
    platform: &Platform,
    by: &By,
    edge: &EdgeId,
    epoch: Option<u64>,
    within_s: u32,
) -> Result<EdgeSession, Refusal> {
    let row = row(platform, edge).await?;
    if epoch.is_some_and(|epoch| epoch != row.epoch) {
        return Err(Refusal::new(Code::Conflict, format!("the life in force of {edge} is {}", row.epoch)));
    }
    let session = EdgeSession { edge: edge.clone(), epoch: row.epoch };
    if matches!(state(&row, &session, row.heartbeat, platform.now()), LifeState::Ended | LifeState::Lost) {
        return Err(Refusal::new(Code::Conflict, format!("{session} is over")));
    }
    let command = Command::Drain { session: session.clone(), within_s, at: by.at };
    platform.store.announce_command(&command, platform.now()).await.map_err(store)?;
    let asked = json!({ "withinSeconds": within_s });
    by.record(platform, "edge.drain", &format!("edge:{session}"), NOTHING, Some(&asked)).await?;
    platform.emit("edge.drain", json!({ "session": session, "withinSeconds": within_s, "by": by.actor })).await;
    Ok(session)
}
