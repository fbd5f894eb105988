//! Story: a line is closed, by its owner or because nobody used it; its proxy becomes idle.

use serde_json::json;
use tollgate_domain::assignment::{Assignment, AssignmentState};
use tollgate_domain::id::{LineKey, ProxyId};
use tollgate_domain::line::{Line, LineState};
use tollgate_domain::proxy::{ProxyIp, ProxyState};
use tollgate_domain::time::Timestamp;
use tollgate_store::StoreError;

use crate::platform::Platform;

/// How often a close starts again because the line changed under it.
const RESTARTS: u32 = 10;

/// How closing a line ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It is closed; this proxy became idle.
    Closed {
        /// The proxy, and when its release is due.
        idle: Option<(ProxyId, Timestamp)>,
    },
    /// It was closed before.
    Already,
    /// There is no such line.
    NotFound,
    /// `only_if` did not hold (any more).
    InUse,
}

/// Closes `key` now. Tunnels on it end within 2 s, on every edge that reaches the store.
///
/// # Errors
/// [`StoreError`]; safe to repeat.
pub async fn close_line(platform: &Platform, key: &LineKey, reason: &str) -> Result<Closed, StoreError> {
    close_if(platform, key, reason, |_| true).await
}

/// Closes `key` if `only_if` holds for the line as it is stored.
///
/// # Errors
/// [`StoreError`]; safe to repeat.
pub async fn close_if(
    platform: &Platform,
    key: &LineKey,
    reason: &str,
    only_if: impl Fn(&Line) -> bool,
) -> Result<Closed, StoreError> {
    let store = &platform.store;
    for _ in 0..RESTARTS {
        let (line, assignment) = tokio::try_join!(store.line(key), store.assignment(key))?;
        let Some(line) = line else { return Ok(Closed::NotFound) };
        if line.state == LineState::Closed {
            return Ok(Closed::Already);
        }
        if !only_if(&line) {
            return Ok(Closed::InUse);
        }
        let now = platform.now();
        let done = if line.alias.is_some() {
            store.close_session(&line, now).await?.then_some(None)
        } else {
            let held = held_proxy(platform, assignment.as_ref(), now).await?;
            let proxy = held.as_ref().map(|(p, due, paid)| (p, *due, *paid));
            let idle = proxy.map(|(p, due, _)| (p.id.clone(), due));
            store.close_line(&line, assignment.as_ref(), proxy, now).await?.then_some(idle)
        };
        if let Some(idle) = done {
            tracing::info!(line = %key, reason, idle = ?idle, "line closed");
            let proxy = idle.as_ref().map(|(id, _)| id.to_string());
            platform.emit("line.closed", json!({"line": key.to_string(), "reason": reason, "proxy": proxy})).await;
            return Ok(Closed::Closed { idle });
        }
    }
    Err(StoreError::Unavailable(format!("line {key} kept changing")))
}

/// The exclusive proxy that the assignment holds, when its release will be due, and until when
/// it is paid.
async fn held_proxy(
    platform: &Platform,
    assignment: Option<&Assignment>,
    now: Timestamp,
) -> Result<Option<(ProxyIp, Timestamp, Timestamp)>, StoreError> {
    let Some(a) = assignment.filter(|a| a.state == AssignmentState::Bound) else { return Ok(None) };
    let Some(id) = &a.proxy else { return Ok(None) };
    let (proxy, provider) = tokio::try_join!(platform.store.proxy(id), platform.store.provider(&id.provider))?;
    let Some(proxy) = proxy.filter(|p| p.state == ProxyState::Active && p.line.as_ref() == Some(&a.line)) else {
        return Ok(None);
    };
    Ok(Some(match provider {
        Some(row) => {
            let paid_until = row.paid_until(proxy.purchased_at, now);
            let due = row.due(now, paid_until);
            (proxy, due, paid_until)
        }
        // A row that is gone cannot say how long to keep: given back at the next sweep.
        None => {
            let paid_until = proxy.paid_until;
            (proxy, now, paid_until)
        }
    }))
}
