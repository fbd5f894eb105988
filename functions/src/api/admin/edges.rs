//! Edges: which there are, and what to do with one.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_domain::id::EdgeId;
use tollgate_domain::time::Timestamp;

use crate::api::body::{Asked, Body, Named, Page, invalid};
use crate::api::envelope::Refused;
use crate::api::idempotent::{Done, Key};
use crate::api::principal::{Admin, Operator, Viewer};
use crate::api::views;
use crate::edges::drain::drain as drain_edge;
use crate::edges::lost::lost as lose_edge;
use crate::edges::{self, Life};
use crate::platform::Platform;

/// Seconds that tunnels get to finish unless asked otherwise, as `drain_s` of an edge.
const DRAIN_S: u32 = 60;
/// Most seconds that tunnels get.
const LONGEST_DRAIN_S: u32 = 86_400;

/// `GET /admin/edges?after=&limit=`: lives of edges in order of id, of each edge the newest first;
/// `next` is the `after` of the next page.
pub(super) async fn list(
    admin: Admin<Viewer>,
    Asked(page): Asked<Page<EdgeId>>,
    State(platform): State<Arc<Platform>>,
) -> Result<Json<Value>, Refused> {
    let limit = page.limit()?;
    let (lives, next) = Box::pin(edges::list(&platform, page.after.as_ref(), limit)).await?;
    let shown = lives.iter().map(|l| shown(l, admin.by.at)).collect::<Vec<_>>();
    Ok(Json(json!({ "edges": shown, "next": next })))
}

fn shown(life: &Life, now: Timestamp) -> Value {
    json!({
        "id": life.session.edge,
        "epoch": life.session.epoch,
        "state": life.state.as_str(),
        "startedAt": views::maybe(life.started_at),
        "heartbeat": views::time(life.heartbeat),
        "heartbeatAgeSeconds": now.since(life.heartbeat).as_secs(),
        "tunnels": life.tunnels,
        "leases": {
            "open": life.held.open,
            "lost": life.held.lost,
            "customers": life.held.customers,
            "takenBytes": life.held.taken,
            "settledBytes": life.held.settled,
            "doubtBytes": life.held.doubt,
            "complete": !life.held.more,
        },
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Drain {
    epoch: Option<u64>,
    within_seconds: Option<u32>,
}

/// `POST /admin/edges/{id}/drain`
pub(super) async fn drain(
    admin: Admin<Operator>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<EdgeId>,
    key: Key,
    body: Body,
) -> Result<Done, Refused> {
    let asked: Drain = body.json()?;
    let within_s = asked.within_seconds.unwrap_or(DRAIN_S);
    if within_s > LONGEST_DRAIN_S {
        return Err(invalid(format!("withinSeconds: 0 to {LONGEST_DRAIN_S}")));
    }
    let work = Box::pin(async {
        let session = Box::pin(drain_edge(&platform, &admin.by, &id, asked.epoch, within_s)).await?;
        let answer = json!({
            "requested": true, "id": session.edge, "epoch": session.epoch, "withinSeconds": within_s,
        });
        Ok(Done::new(StatusCode::ACCEPTED, answer))
    });
    key.once(&platform, &admin.by, &body, work).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lost {
    epoch: Option<u64>,
    #[serde(default)]
    force: bool,
}

/// `POST /admin/edges/{id}/lost`: an operator's word that a life of the edge is dead.
pub(super) async fn lost(
    admin: Admin<Operator>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<EdgeId>,
    key: Key,
    body: Body,
) -> Result<Done, Refused> {
    let Lost { epoch, force } = body.json()?;
    let work = Box::pin(async {
        let loss = Box::pin(lose_edge(&platform, &admin.by, &id, epoch, force)).await?;
        let answer = json!({
            "id": loss.session.edge,
            "epoch": loss.session.epoch,
            "state": "lost",
            "leases": loss.leases,
            "customers": loss.customers,
            "doubtBytes": loss.doubt,
            "lines": loss.lines,
        });
        Ok(Done::new(StatusCode::OK, answer))
    });
    key.once(&platform, &admin.by, &body, work).await
}
