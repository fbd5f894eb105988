//! Customers; the route calls them users.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use futures_util::future::BoxFuture;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_domain::customer::{AuthMode, Customer};
use tollgate_domain::id::{CustomerId, UserName};
use tollgate_domain::refusal::Refusal;
use tollgate_domain::time::Timestamp;

use crate::api::body::{self, Asked, Body, Named, Page, identifier, invalid, words};
use crate::api::envelope::Refused;
use crate::api::idempotent::{Done, Key};
use crate::api::principal::{Admin, Operator, Viewer};
use crate::api::views;
use crate::customers::{self, End, NewCustomer};
use crate::lockout;
use crate::outcome::store;
use crate::platform::Platform;
use crate::random::ulid;
use crate::trail::By;

/// Most countries a walk may try.
const MOST_HOPS: u8 = 7;
/// Longest name, in characters.
const LONGEST_NAME: usize = 100;
/// Longest reason of a ban, in characters.
const LONGEST_REASON: usize = 300;
/// Most days an extension adds.
const MOST_DAYS: u32 = 3660;

/// `GET /admin/users?after=&limit=`: in order of id; `next` is the `after` of the next page.
pub(super) async fn list(
    admin: Admin<Viewer>,
    Asked(page): Asked<Page<CustomerId>>,
    State(platform): State<Arc<Platform>>,
) -> Result<Json<Value>, Refused> {
    let limit = page.limit()?;
    let found = platform.store.customers(page.after.as_ref(), limit).await.map_err(store)?;
    let next = found.last().filter(|_| found.len() == limit).map(|c| c.id.clone());
    let found = lockout::take_in_all(&platform, found).await?;
    let shown = found.iter().map(|c| views::customer(c, admin.by.at)).collect::<Vec<_>>();
    Ok(Json(json!({ "users": shown, "next": next })))
}

/// `GET /admin/users/{id}`: deleted ones too.
pub(super) async fn show(
    admin: Admin<Viewer>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<CustomerId>,
) -> Result<Json<Value>, Refused> {
    let customer = lockout::take_in(&platform, customers::find(&platform, &id, true).await?).await?;
    Ok(Json(views::customer(&customer, admin.by.at)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wanted {
    id: Option<String>,
    user: Option<String>,
    name: String,
    plan: String,
    default_country: Option<String>,
    allow_fallback: Option<bool>,
    max_hops: Option<u8>,
    auth: Option<AuthMode>,
    expires_at: Option<String>,
}

impl Wanted {
    fn customer(&self, key: &Key, by: &By) -> Result<NewCustomer, Refused> {
        let id = match &self.id {
            Some(id) => identifier::<CustomerId>("id", id)?,
            None => identifier("id", &made_up_id(key, by))?,
        };
        let user = identifier::<UserName>("user", self.user.as_deref().unwrap_or(id.as_str()))?;
        let max_hops = self.max_hops.unwrap_or(MOST_HOPS);
        if !(1..=MOST_HOPS).contains(&max_hops) {
            return Err(invalid(format!("maxHops: 1 to {MOST_HOPS}")));
        }
        Ok(NewCustomer {
            id,
            user,
            name: words("name", &self.name, LONGEST_NAME)?,
            plan: self.plan.clone(),
            default_country: self.default_country.as_deref().map(body::country).transpose()?,
            allow_fallback: self.allow_fallback.unwrap_or(true),
            max_hops,
            auth: self.auth.unwrap_or_default(),
            expires_at: self.expires_at.as_deref().map(instant).transpose()?,
        })
    }
}

/// The same for the same request, so that carrying it out twice makes one customer.
fn made_up_id(key: &Key, by: &By) -> String {
    let seed = key.seed(by).unwrap_or_else(|| ulid(by.at).to_ascii_lowercase());
    format!("c{}", seed.get(..26).unwrap_or(&seed))
}

fn instant(text: &str) -> Result<Timestamp, Refused> {
    Timestamp::parse(text).ok_or_else(|| invalid("expiresAt: an RFC 3339 time, as 2027-01-01T00:00:00Z"))
}

/// `POST /admin/users`: the customer and the password of its first credential, which is shown
/// here and by rotating.
pub(super) async fn create(
    admin: Admin<Operator>,
    State(platform): State<Arc<Platform>>,
    key: Key,
    body: Body,
) -> Result<Done, Refused> {
    let new = body.json::<Wanted>()?.customer(&key, &admin.by)?;
    let mut password = None;
    let work = Box::pin(async {
        let (customer, shown) = customers::create(&platform, &admin.by, new).await?;
        let mut answer = views::customer(&customer, admin.by.at);
        answer["credential"] = views::credential(&shown.credential);
        password = Some(shown.password.expose_secret().to_owned());
        Ok(Done::new(StatusCode::CREATED, answer))
    });
    let mut done = key.once(&platform, &admin.by, &body, work).await?;
    done.show_once("password", password);
    Ok(done)
}

/// `DELETE /admin/users/{id}`
pub(super) async fn delete(
    admin: Admin<Operator>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<CustomerId>,
) -> Result<Json<Value>, Refused> {
    let customer = Box::pin(customers::delete(&platform, &admin.by, &id)).await?;
    Ok(Json(views::customer(&customer, admin.by.at)))
}

/// A body without fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhyBan {
    reason: String,
}

/// `POST /admin/users/{id}/ban`
pub(super) async fn ban(
    admin: Admin<Operator>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<CustomerId>,
    key: Key,
    body: Body,
) -> Result<Done, Refused> {
    let reason = words("reason", &body.json::<WhyBan>()?.reason, LONGEST_REASON)?;
    let work = customers::ban(&platform, &admin.by, &id, reason);
    key.once(&platform, &admin.by, &body, shown(&admin, work)).await
}

/// `POST /admin/users/{id}/unban`
pub(super) async fn unban(
    admin: Admin<Operator>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<CustomerId>,
    key: Key,
    body: Body,
) -> Result<Done, Refused> {
    let Empty {} = body.json()?;
    key.once(&platform, &admin.by, &body, shown(&admin, customers::unban(&platform, &admin.by, &id))).await
}

/// `POST /admin/users/{id}/unlock`
pub(super) async fn unlock(
    admin: Admin<Operator>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<CustomerId>,
    key: Key,
    body: Body,
) -> Result<Done, Refused> {
    let Empty {} = body.json()?;
    key.once(&platform, &admin.by, &body, shown(&admin, customers::unlock(&platform, &admin.by, &id))).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Longer {
    /// Days after the end that stands, or after now if that has passed.
    days: Option<u32>,
    expires_at: Option<String>,
    /// The plan does not end.
    never: Option<bool>,
}

/// `POST /admin/users/{id}/extend`: one of `days`, `expiresAt`, `never`.
pub(super) async fn extend(
    admin: Admin<Operator>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<CustomerId>,
    key: Key,
    body: Body,
) -> Result<Done, Refused> {
    let longer: Longer = body.json()?;
    let at = longer.expires_at.as_deref().map(instant).transpose()?;
    let end = match (longer.days, at, longer.never) {
        (Some(days), None, None) if (1..=MOST_DAYS).contains(&days) => End::Days(days),
        (None, Some(at), None) => End::At(at),
        (None, None, Some(true)) => End::Never,
        _ => return Err(invalid(format!("one of days (1 to {MOST_DAYS}), expiresAt, never (true)"))),
    };
    let work = customers::extend(&platform, &admin.by, &id, end);
    key.once(&platform, &admin.by, &body, shown(&admin, work)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedPlan {
    plan: String,
    version: Option<u32>,
}

/// `POST /admin/users/{id}/plan`
pub(super) async fn plan(
    admin: Admin<Operator>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<CustomerId>,
    key: Key,
    body: Body,
) -> Result<Done, Refused> {
    let wanted: WantedPlan = body.json()?;
    let work = customers::set_plan(&platform, &admin.by, &id, &wanted.plan, wanted.version);
    key.once(&platform, &admin.by, &body, shown(&admin, work)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedAuth {
    mode: AuthMode,
}

/// `POST /admin/users/{id}/auth`
pub(super) async fn auth(
    admin: Admin<Operator>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<CustomerId>,
    key: Key,
    body: Body,
) -> Result<Done, Refused> {
    let WantedAuth { mode } = body.json()?;
    key.once(&platform, &admin.by, &body, shown(&admin, customers::set_auth(&platform, &admin.by, &id, mode))).await
}

/// The customer that `work` leaves, as an answer.
pub(super) fn shown<'a>(
    admin: &'a Admin<Operator>,
    work: impl Future<Output = Result<Customer, Refusal>> + Send + 'a,
) -> BoxFuture<'a, Result<Done, Refusal>> {
    Box::pin(async move { Ok(Done::new(StatusCode::OK, views::customer(&work.await?, admin.by.at))) })
}
