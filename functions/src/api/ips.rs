//! Source addresses, as customers and operators list them: what both routers read and say.

use axum::Json;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_domain::allow::{AllowEntry, AllowNet};
use tollgate_domain::customer::Customer;
use tollgate_domain::refusal::Refusal;
use tollgate_domain::time::Timestamp;

use super::body::{Body, invalid, words};
use super::envelope::Refused;
use super::idempotent::Done;
use super::views;
use crate::platform::Platform;
use crate::sources;
use crate::trail::By;

/// Longest note, in characters.
const LONGEST_NOTE: usize = 100;

/// What a customer lists.
pub(super) struct Wanted {
    net: AllowNet,
    note: String,
}

impl Wanted {
    pub fn read(body: &Body) -> Result<Self, Refused> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            net: String,
            note: Option<String>,
        }
        let fields: Fields = body.json()?;
        let note = fields.note.filter(|n| !n.is_empty()).map(|n| words("note", &n, LONGEST_NOTE)).transpose()?;
        Ok(Self { net: net(&fields.net)?, note: note.unwrap_or_default() })
    }

    /// 201 for a new entry, 200 for one that was there.
    pub async fn add(self, platform: &Platform, by: &By, customer: &Customer) -> Result<Done, Refusal> {
        let (entry, new) = sources::add(platform, by, customer, self.net, self.note).await?;
        let status = if new { StatusCode::CREATED } else { StatusCode::OK };
        Ok(Done::new(status, view(&entry, None)))
    }
}

/// `?net=`: which entry. A network has a slash, which not everything on the way leaves in a path.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    net: String,
}

/// The list, and how long it may be.
pub(super) async fn list(platform: &Platform, customer: &Customer) -> Result<Json<Value>, Refused> {
    let listed = sources::list(platform, &customer.id).await?;
    let shown = listed.iter().map(|s| view(&s.entry, s.last_used_at)).collect::<Vec<_>>();
    Ok(Json(json!({ "ips": shown, "max": customer.limits.max_allow_entries(), "auth": customer.auth })))
}

/// Removing what is not listed is no error.
pub(super) async fn remove(
    platform: &Platform,
    by: &By,
    customer: &Customer,
    which: &Which,
) -> Result<Json<Value>, Refused> {
    let net = net(&which.net)?;
    let removed = sources::remove(platform, by, &customer.id, net).await?;
    Ok(Json(json!({ "net": net, "removed": removed })))
}

fn net(text: &str) -> Result<AllowNet, Refused> {
    text.trim().parse::<AllowNet>().map_err(|e| invalid(format!("net: {e}")))
}

fn view(entry: &AllowEntry, last_used_at: Option<Timestamp>) -> Value {
    json!({
        "net": entry.net,
        "note": entry.note,
        "createdAt": views::time(entry.created_at),
        "lastUsedAt": views::maybe(last_used_at),
    })
}
