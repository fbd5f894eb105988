//! A customer's own limits, beside its plan.

use std::sync::Arc;

use axum::extract::State;
use tollgate_domain::id::CustomerId;

use super::users::shown;
use crate::api::body::{Body, Named, invalid};
use crate::api::envelope::Refused;
use crate::api::idempotent::{Done, Key};
use crate::api::limits::LimitsPatch;
use crate::api::principal::{Admin, Operator};
use crate::customers;
use crate::platform::Platform;

/// `POST /admin/users/{id}/limits`: some of a plan's limits, for this customer. The others stay.
pub(super) async fn limits(
    admin: Admin<Operator>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<CustomerId>,
    key: Key,
    body: Body,
) -> Result<Done, Refused> {
    let own: LimitsPatch = body.json()?;
    if own.is_empty() {
        return Err(invalid("at least one limit"));
    }
    own.check()?;
    let work = customers::set_limits(&platform, &admin.by, &id, move |limits| own.apply(limits));
    key.once(&platform, &admin.by, &body, shown(&admin, work)).await
}
