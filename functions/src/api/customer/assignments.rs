//! Assignments: which proxy serves a line. A line opened here stays open until it is closed here,
//! unless it is told otherwise.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_domain::assignment::{AssignReply, AssignRequest, Assignment};
use tollgate_domain::country::Country;
use tollgate_domain::id::LineKey;
use tollgate_domain::line::{Hold, Line, LineState};
use tollgate_domain::refusal::{Code, Refusal};

use crate::api::body::{self, Body, Named, invalid};
use crate::api::envelope::Refused;
use crate::api::idempotent::{Done, Key};
use crate::api::principal::{Caller, ReadLines, WriteLines};
use crate::api::views;
use crate::assign::assign;
use crate::close_line::close_line;
use crate::credentials::proxy_urls;
use crate::customers;
use crate::lockout;
use crate::outcome::store;
use crate::platform::Platform;
use crate::trail::NOTHING;

/// Assignments read at a time.
const READ_AT_ONCE: usize = 32;
/// Longest time a line may be held, in minutes: 30 days.
const LONGEST_HOLD: u32 = 30 * 24 * 60;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    line: String,
    country: Option<String>,
    #[serde(rename = "type")]
    class: Option<String>,
    hold: Option<Held>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Held {
    Minutes(u32),
    Until(String),
}

impl Wanted {
    fn hold(&self) -> Result<Hold, Refused> {
        match &self.hold {
            None => Ok(Hold::Closed),
            Some(Held::Until(word)) if word == "until_closed" => Ok(Hold::Closed),
            Some(Held::Minutes(m)) if (1..=LONGEST_HOLD).contains(m) => Ok(Hold::Minutes(*m)),
            Some(_) => Err(invalid(format!("hold: \"until_closed\" or 1 to {LONGEST_HOLD} minutes"))),
        }
    }
}

/// `POST /v1/assignments`
pub(super) async fn open(
    caller: Caller<WriteLines>,
    State(platform): State<Arc<Platform>>,
    key: Key,
    body: Body,
) -> Result<Done, Refused> {
    let wanted: Wanted = body.json()?;
    let line = LineKey { customer: caller.customer.id.clone(), label: body::line(&wanted.line)? };
    let request = AssignRequest {
        customer: caller.customer.id.clone(),
        line: line.clone(),
        country: wanted.country.as_deref().map(body::country).transpose()?,
        class: wanted.class.as_deref().map(body::class).transpose()?,
        hold: wanted.hold()?,
        correlation_id: caller.by.correlation_id.clone(),
        lost: None,
    };
    let work = Box::pin(async {
        // The story looks at the rest; a strike's lock is not in the row that it reads.
        let customer = lockout::take_in(&platform, caller.customer.clone()).await?;
        if let Some(refusal) = customers::blocked(&customer, caller.by.at).filter(|r| r.code == Code::LockedOut) {
            return Err(refusal);
        }
        match Box::pin(assign(&platform, request)).await {
            AssignReply::Refused { refusal } => Err(refusal.into_refusal()),
            AssignReply::Bound { assignment } => {
                let shown = view(&assignment);
                caller.by.record(&platform, "line.open", &format!("line:{line}"), NOTHING, Some(&shown)).await?;
                Ok(Done::new(StatusCode::OK, shown))
            }
        }
    });
    let mut done = key.once(&platform, &caller.by, &body, work).await?;
    let asked = done.body["requestedCountry"].as_str().and_then(Country::parse);
    if let Some(country) = asked {
        with_url(&platform, &line, country, &mut done.body).await?;
    }
    Ok(done)
}

/// `GET /v1/assignments`
pub(super) async fn list(
    caller: Caller<ReadLines>,
    State(platform): State<Arc<Platform>>,
) -> Result<Json<Value>, Refused> {
    let lines = platform.store.lines(&caller.customer.id).await.map_err(store)?;
    let open = lines.iter().filter(|l| l.state == LineState::Open && l.alias.is_none()).collect::<Vec<_>>();
    let mut shown = Vec::with_capacity(open.len());
    for lines in open.chunks(READ_AT_ONCE) {
        let found = lines.iter().map(|line| platform.store.assignment(&line.key));
        let found = futures_util::future::try_join_all(found).await.map_err(store)?;
        shown.extend(lines.iter().zip(&found).map(|(line, found)| of_line(line, found.as_ref())));
    }
    Ok(Json(json!({ "assignments": shown })))
}

/// `GET /v1/assignments/{line}`
pub(super) async fn show(
    caller: Caller<ReadLines>,
    State(platform): State<Arc<Platform>>,
    Named(label): Named<String>,
) -> Result<Json<Value>, Refused> {
    let line = find(&platform, &caller.customer.id, &label).await?;
    let assignment = platform.store.assignment(&line.key).await.map_err(store)?;
    let mut shown = of_line(&line, assignment.as_ref());
    with_url(&platform, &line.key, line.country, &mut shown).await?;
    Ok(Json(shown))
}

/// `DELETE /v1/assignments/{line}`. Closing a closed line is no error.
pub(super) async fn close(
    caller: Caller<WriteLines>,
    State(platform): State<Arc<Platform>>,
    Named(label): Named<String>,
) -> Result<Json<Value>, Refused> {
    let label = body::line(&label).map_err(|_| no_line())?;
    let key = LineKey { customer: caller.customer.id.clone(), label };
    let line = platform.store.line(&key).await.map_err(store)?.ok_or_else(no_line)?;
    if line.state == LineState::Open {
        Box::pin(close_line(&platform, &key, "api")).await.map_err(store)?;
        caller.by.record(&platform, "line.close", &format!("line:{key}"), NOTHING, NOTHING).await?;
    }
    Ok(Json(json!({ "line": key.label, "closed": true })))
}

async fn find(platform: &Platform, customer: &tollgate_domain::id::CustomerId, label: &str) -> Result<Line, Refused> {
    let label = body::line(label).map_err(|_| no_line())?;
    let line = platform.store.line(&LineKey { customer: customer.clone(), label }).await.map_err(store)?;
    line.filter(|l| l.state == LineState::Open).ok_or_else(no_line)
}

fn no_line() -> Refused {
    Refused(Refusal::new(Code::NotFound, "no line of this name is open"))
}

async fn with_url(platform: &Platform, line: &LineKey, country: Country, shown: &mut Value) -> Result<(), Refusal> {
    let urls = proxy_urls(platform, &line.customer, &[(line.label.clone(), country)]).await?;
    shown["proxyUrl"] = urls.first().map_or(Value::Null, |u| u.url().into());
    Ok(())
}

/// A line whose assignment may be gone or pending.
fn of_line(line: &Line, assignment: Option<&Assignment>) -> Value {
    match assignment {
        Some(a) => view(a),
        None => json!({
            "line": line.key.label,
            "state": "unassigned",
            "requestedCountry": line.country,
            "type": line.class,
            "since": views::time(line.opened_at),
        }),
    }
}

/// What a customer sees of an assignment: not who sold the proxy.
fn view(a: &Assignment) -> Value {
    let hops = a.hops.iter().map(|h| json!({ "country": h.country, "outcome": h.outcome }));
    json!({
        "line": a.line.label,
        "state": a.state,
        "requestedCountry": a.requested,
        "country": a.country,
        "fallbackUsed": a.fallback_used(),
        "type": a.class,
        "hops": hops.collect::<Vec<_>>(),
        "since": views::time(a.since),
        "boundAt": views::maybe(a.bound_at),
    })
}
