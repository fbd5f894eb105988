//! What became of a customer's connections, as both routers show it. Nothing is billed from it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_domain::id::{CustomerId, ProxyId};
use tollgate_domain::time::Timestamp;
use tollgate_domain::usage_event::{EventKind, EventPlace, UsageEvent};

use super::body::{invalid, page_of};
use super::envelope::Refused;
use super::views;
use crate::outcome::store;
use crate::platform::Platform;

/// Which events.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// UTC, `yyyy-mm-dd`; none = today.
    date: Option<String>,
    /// `provider/address`; none = of all.
    proxy: Option<String>,
    /// The `next` of the page before.
    after: Option<EventPlace>,
    limit: Option<usize>,
}

/// The events of a customer on a day, page by page.
pub(super) async fn events(
    platform: &Platform,
    customer: &CustomerId,
    wanted: Wanted,
    now: Timestamp,
) -> Result<Value, Refused> {
    let date = wanted.date.unwrap_or_else(|| now.day());
    if Timestamp::parse(&format!("{date}T00:00:00Z")).is_none_or(|t| t.day() != date) {
        return Err(invalid("date: yyyy-mm-dd"));
    }
    let proxy = wanted.proxy.map(|p| p.parse::<ProxyId>()).transpose().map_err(|e| invalid(format!("proxy: {e}")))?;
    let limit = page_of(wanted.limit)?;
    let page = platform.store.events(customer, &date, proxy.as_ref(), wanted.after.as_ref(), limit, now);
    let page = Box::pin(page).await.map_err(store)?;
    Ok(json!({
        "date": date,
        "events": page.events.iter().map(|e| shown(customer, e)).collect::<Vec<_>>(),
        "next": page.next,
    }))
}

fn shown(customer: &CustomerId, e: &UsageEvent) -> Value {
    let mut shown = json!({
        "eventId": e.id().to_string(),
        // An edge saw it; nobody reported it.
        "source": "edge",
        "type": e.kind.as_str(),
        "connectionId": e.connection,
        "userId": customer,
        "proxyId": e.proxy.as_ref().map(ToString::to_string),
        "line": e.line,
        "timestamp": views::time(e.at),
        "ingressBytes": e.ingress,
        "egressBytes": e.egress,
        "dataBytes": e.bytes(),
        "durationSeconds": Duration::from_millis(e.duration_ms).as_secs_f64(),
        "clientIp": e.source,
    });
    if let Some(reason) = &e.reason {
        let field = if e.kind == EventKind::Error { "errorMessage" } else { "reason" };
        shown[field] = json!(reason);
    }
    shown
}
