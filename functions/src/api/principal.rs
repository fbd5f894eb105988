//! Who asks. API keys are looked up by their digest; roles and scopes are part of a handler's
//! arguments, so that none can be forgotten.

use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use serde::Deserialize;
use subtle::ConstantTimeEq;
use tollgate_domain::customer::{Customer, Standing};
use tollgate_domain::refusal::Code;
use tollgate_domain::time::Timestamp;
use tollgate_store::api_key::{self, ApiKey, Holder, Role, Scope};

use super::envelope::{Context, Refused};
use crate::outcome::store;
use crate::platform::Platform;
use crate::sources;
use crate::trail::By;

/// Longest key that is looked up.
const LONGEST_KEY: usize = 256;

/// Which role a handler needs.
pub(super) trait Needs: Send {
    const ROLE: Role;
}
/// Reads.
pub(super) struct Viewer;
/// Changes customers, their credentials and keys.
pub(super) struct Operator;
/// Changes providers and plans too.
pub(super) struct Owner;
impl Needs for Viewer {
    const ROLE: Role = Role::Viewer;
}
impl Needs for Operator {
    const ROLE: Role = Role::Operator;
}
impl Needs for Owner {
    const ROLE: Role = Role::Owner;
}

/// An operator whose role is at least `N`.
pub(super) struct Admin<N> {
    pub by: By,
    needs: PhantomData<N>,
}

impl<N: Needs> FromRequestParts<Arc<Platform>> for Admin<N> {
    type Rejection = Refused;
    async fn from_request_parts(parts: &mut Parts, platform: &Arc<Platform>) -> Result<Self, Refused> {
        let key = authenticate(platform, header_key(&parts.headers, "x-admin-api-key")).await?;
        let Holder::Admin { name, role } = key.holder else { return Err(unknown_key()) };
        if role < N::ROLE {
            return Err(Refused::new(Code::Forbidden, format!("this needs the role {:?}", N::ROLE).to_lowercase()));
        }
        let by = by(parts, platform, format!("admin:{name}")).await;
        Ok(Self { by, needs: PhantomData })
    }
}

/// Which scope a handler needs.
pub(super) trait Covers: Send {
    const SCOPE: Scope;
}
/// Opens and closes lines.
pub(super) struct WriteLines;
/// Sees lines.
pub(super) struct ReadLines;
/// Sees the account.
pub(super) struct ReadAccount;
/// Changes the account's source addresses.
pub(super) struct WriteSources;
impl Covers for WriteLines {
    const SCOPE: Scope = Scope::AssignmentsWrite;
}
impl Covers for ReadLines {
    const SCOPE: Scope = Scope::AssignmentsRead;
}
impl Covers for ReadAccount {
    const SCOPE: Scope = Scope::AccountRead;
}
impl Covers for WriteSources {
    const SCOPE: Scope = Scope::IpsWrite;
}

/// A customer whose key has the scope `C`. Banned, locked and expired ones pass: what they may
/// still do is the handler's to say.
pub(super) struct Caller<C> {
    pub customer: Customer,
    pub by: By,
    covers: PhantomData<C>,
}

impl<C: Covers> FromRequestParts<Arc<Platform>> for Caller<C> {
    type Rejection = Refused;
    async fn from_request_parts(parts: &mut Parts, platform: &Arc<Platform>) -> Result<Self, Refused> {
        let key = authenticate(platform, customer_key(&parts.headers)).await?;
        let customer = covered(platform, key, C::SCOPE, |scopes| scopes.contains(&C::SCOPE)).await?;
        let by = by(parts, platform, format!("customer:{}", customer.id)).await;
        Ok(Self { customer, by, covers: PhantomData })
    }
}

/// Who reads the list of proxy URLs: a key that may; `?token=` with a key that may do nothing
/// else, for programs that know only a URL; or, with neither, a listed source address.
pub(super) struct ListCaller {
    pub customer: Customer,
    pub now: Timestamp,
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

impl FromRequestParts<Arc<Platform>> for ListCaller {
    type Rejection = Refused;
    async fn from_request_parts(parts: &mut Parts, platform: &Arc<Platform>) -> Result<Self, Refused> {
        const SCOPE: Scope = Scope::ProxiesRead;
        let token = Query::<Token>::try_from_uri(&parts.uri).ok().map(|Query(t)| t.token);
        let customer = match (customer_key(&parts.headers), token) {
            (None, Some(token)) => {
                let key = authenticate(platform, Some(&token)).await?;
                // URLs end up in logs and histories: a key that may do more does not pass there.
                covered(platform, key, SCOPE, |scopes| scopes == [SCOPE]).await?
            }
            // A key that does not pass is not made up for by an address.
            (None, None) if !sends_key(&parts.headers) => listed(platform, source(parts)).await?,
            (key, _) => covered(platform, authenticate(platform, key).await?, SCOPE, |s| s.contains(&SCOPE)).await?,
        };
        Ok(Self { customer, now: platform.now() })
    }
}

/// The customer who holds `key`, if its scopes are `enough` for `scope`.
async fn covered(
    platform: &Platform,
    key: ApiKey,
    scope: Scope,
    enough: impl Fn(&[Scope]) -> bool + Send,
) -> Result<Customer, Refused> {
    let Holder::Customer { id, scopes } = key.holder else { return Err(unknown_key()) };
    if !enough(&scopes) {
        let scope = serde_json::to_string(&scope).unwrap_or_default();
        return Err(Refused::new(Code::Forbidden, format!("this key does not serve for {scope} here")));
    }
    let customer = platform.store.customer(&id).await.map_err(store)?.ok_or_else(unknown_key)?;
    if customer.standing(platform.now()) == Standing::Deleted {
        return Err(unknown_key());
    }
    Ok(customer)
}

/// The customer whose listed source `from` is, if a source alone lets it pass.
async fn listed(platform: &Platform, from: Option<IpAddr>) -> Result<Customer, Refused> {
    let unlisted = || {
        let at = from.map_or_else(String::new, |ip| format!(", and {ip} is not a listed source"));
        Refused::new(Code::Unauthenticated, format!("no API key was sent{at}"))
    };
    let customer = sources::owner(platform, from.ok_or_else(unlisted)?).await?;
    customer.filter(|c| c.auth.judge(false, true).is_ok()).ok_or_else(unlisted)
}

/// The caller's address as the socket or the gateway in front says it. No header says it: a
/// caller writes those.
fn source(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(from)| from.ip())
}

fn sends_key(headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION) || headers.contains_key("x-api-key")
}

fn customer_key(headers: &HeaderMap) -> Option<&str> {
    bearer(headers).or_else(|| header_key(headers, "x-api-key"))
}

async fn by(parts: &mut Parts, platform: &Platform, actor: String) -> By {
    let Ok(Context { correlation_id, ip }) = Context::from_request_parts(parts, &()).await;
    By { actor, ip, correlation_id, at: platform.now() }
}

/// The row of `key`. What is missing, unknown and revoked reads the same.
async fn authenticate(platform: &Platform, key: Option<&str>) -> Result<ApiKey, Refused> {
    let Some(key) = key else {
        return Err(Refused::new(Code::Unauthenticated, "no API key was sent"));
    };
    if key.is_empty() || key.len() > LONGEST_KEY {
        return Err(unknown_key());
    }
    let hash = api_key::hash(key);
    let row = platform.store.api_key(&hash).await.map_err(store)?.ok_or_else(unknown_key)?;
    let same = bool::from(row.hash.as_bytes().ct_eq(hash.as_bytes()));
    if !same || row.revoked_at.is_some() {
        return Err(unknown_key());
    }
    Ok(row)
}

fn unknown_key() -> Refused {
    Refused::new(Code::Unauthenticated, "this API key does not pass here")
}

fn header_key<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
