//! Closing live tunnels of a customer: all of them, or those that a selector names.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use tollgate_domain::feed::Selector;
use tollgate_domain::id::CustomerId;
use tollgate_domain::live::ConnectionId;

use super::users::shown;
use crate::api::body::{self, Body, Named, invalid};
use crate::api::envelope::Refused;
use crate::api::idempotent::{Done, Key};
use crate::api::principal::{Admin, Operator};
use crate::customers;
use crate::kick::kick_some;
use crate::platform::Platform;

/// At most one of them; none = all tunnels.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Which {
    line: Option<String>,
    source_ip: Option<String>,
    connection: Option<String>,
}

impl Which {
    fn selector(self) -> Result<Option<Selector>, Refused> {
        Ok(match (self.line, self.source_ip, self.connection) {
            (None, None, None) => None,
            (Some(line), None, None) => Some(Selector::Line(body::line(&line)?)),
            (None, Some(ip), None) => {
                let source = Selector::source(&ip);
                Some(source.ok_or_else(|| invalid("sourceIp: an address, or a network as 203.0.113.0/24"))?)
            }
            (None, None, Some(id)) => {
                let id = id.parse::<ConnectionId>().map_err(|e| invalid(format!("connection: {e}")))?;
                Some(Selector::Connection(id))
            }
            _ => return Err(invalid("at most one of line, sourceIp, connection")),
        })
    }
}

/// `POST /admin/users/{id}/kick`
pub(super) async fn kick(
    admin: Admin<Operator>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<CustomerId>,
    key: Key,
    body: Body,
) -> Result<Done, Refused> {
    let work = match body.json::<Which>()?.selector()? {
        None => shown(&admin, customers::kick(&platform, &admin.by, &id)),
        Some(selector) => shown(&admin, kick_some(&platform, &admin.by, &id, selector)),
    };
    key.once(&platform, &admin.by, &body, work).await
}
