//! Live tunnels over the fleet.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_domain::id::{CustomerId, EdgeSession};
use tollgate_domain::live::{ConnectionId, LiveTunnel, MOST_TUNNELS};

use crate::api::body::{Asked, invalid};
use crate::api::envelope::Refused;
use crate::api::principal::{Admin, Viewer};
use crate::api::views;
use crate::customers;
use crate::live::live;
use crate::platform::Platform;

/// Tunnels named unless asked otherwise.
const NAMED: u16 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    customer: Option<CustomerId>,
    limit: Option<u16>,
}

/// `GET /admin/live?customer=&limit=`: the newest tunnels, and how many there are.
pub(super) async fn list(
    _: Admin<Viewer>,
    Asked(page): Asked<Page>,
    State(platform): State<Arc<Platform>>,
) -> Result<Json<Value>, Refused> {
    let limit = page.limit.unwrap_or(NAMED);
    if !(1..=MOST_TUNNELS).contains(&limit) {
        return Err(invalid(format!("limit: 1 to {MOST_TUNNELS}")));
    }
    let one = page.customer.is_some();
    if let Some(id) = &page.customer {
        customers::find(&platform, id, true).await?;
    }
    let heard = Box::pin(live(&platform, page.customer, limit)).await?;
    let edges = heard.iter().map(|h| {
        json!({
            "id": h.id,
            "epoch": h.row.epoch,
            "heartbeat": views::time(h.row.heartbeat),
            "answered": h.answered,
        })
    });
    let edges = edges.collect::<Vec<_>>();
    let reports = heard.into_iter().flat_map(|h| h.reports).collect::<Vec<_>>();
    let total = reports.iter().map(|r| u64::from(r.tunnels)).sum::<u64>();
    // A customer at two edges counts at both, but one customer is one.
    let customers = reports.iter().map(|r| u64::from(r.customers)).sum::<u64>();
    let customers = if one { customers.min(1) } else { customers };
    let named = reports.into_iter().flat_map(|r| r.newest.into_iter().map(move |t| (r.session.clone(), t)));
    let mut named = named.collect::<Vec<_>>();
    named.sort_by_key(|(session, t)| (Reverse(t.opened_at), session.clone(), Reverse(t.number)));
    named.truncate(usize::from(limit));
    Ok(Json(json!({
        "edges": edges,
        "totals": { "tunnels": total, "customers": customers },
        "tunnels": named.into_iter().map(|(session, t)| tunnel(session, t)).collect::<Vec<_>>(),
    })))
}

fn tunnel(session: EdgeSession, t: LiveTunnel) -> Value {
    json!({
        "connection": ConnectionId { session, number: t.number },
        "customer": t.customer,
        "line": t.line,
        "sourceIp": t.source,
        "listenerPort": t.listener_port,
        "upstream": t.upstream,
        "country": t.country,
        "ingressBytes": t.ingress,
        "egressBytes": t.egress,
        "openedAt": views::time(t.opened_at),
    })
}
