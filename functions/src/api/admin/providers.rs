//! Providers: rows of data. Their secrets are taken and never shown.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_domain::id::ProviderId;
use tollgate_domain::money::Money;
use tollgate_domain::provider::{BillingGrain, DueRule, Provider, ProviderType};
use tollgate_domain::proxy::{ProxyClass, UpstreamKind};
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::upstream::Scheme;

use crate::api::body::{Body, Named, identifier, invalid, words};
use crate::api::envelope::Refused;
use crate::api::idempotent::{Done, Key};
use crate::api::principal::{Admin, Owner, Viewer};
use crate::api::views;
use crate::markets::management_secret;
use crate::outcome::{secret, store};
use crate::platform::{Platform, SecretError};
use crate::trail::{By, NOTHING};

/// Longest name, in characters.
const LONGEST_NAME: usize = 100;
/// Longest account, zone or host, in bytes.
const LONGEST_WORD: usize = 255;
/// Longest idle time: 90 days.
const LONGEST_IDLE_S: u64 = 90 * 86_400;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wanted {
    /// In a new row only; else it is in the path.
    id: Option<String>,
    /// The version that the caller changes; none = whatever is there.
    version: Option<u64>,
    name: String,
    #[serde(rename = "type")]
    kind: ProviderType,
    class: Option<ProxyClass>,
    api_url: String,
    account: String,
    zone: String,
    gateway_host: String,
    gateway_port: u16,
    /// `http` (default), `https` or `socks5`.
    protocol: Option<Scheme>,
    /// User name at the gateway with `{user} {session} {country} {life} {ip}`; none = the kind's own.
    user_template: Option<String>,
    price: Money,
    billing_grain: BillingGrain,
    due_rule: Option<DueRule>,
    idle_ttl_seconds: Option<u64>,
    spend_cap_day: Option<Money>,
    active: Option<bool>,
    /// Token of the management API; none = as it is.
    management_key: Option<SecretString>,
    /// Password of the gateway zone; none = as it is.
    gateway_password: Option<SecretString>,
}

impl Wanted {
    fn row(&self, id: ProviderId, before: Option<&Provider>, by: &By) -> Result<Provider, Refused> {
        let web = self.api_url.starts_with("https://") || self.api_url.starts_with("http://");
        if !web || self.api_url.len() > LONGEST_WORD || !printable(&self.api_url) {
            return Err(invalid("apiUrl: an http(s) URL"));
        }
        for (field, text) in [("account", &self.account), ("zone", &self.zone), ("gatewayHost", &self.gateway_host)] {
            if text.is_empty() || text.len() > LONGEST_WORD || !printable(text) || text.contains([':', '/', '@']) {
                return Err(invalid(format!("{field}: 1 to {LONGEST_WORD} printable characters, none of : / @")));
            }
        }
        if self.gateway_port == 0 {
            return Err(invalid("gatewayPort: 1 to 65535"));
        }
        if self.protocol == Some(Scheme::Direct) {
            return Err(invalid("protocol: http, https or socks5"));
        }
        let template = self.user_template.as_deref();
        if template.is_some_and(|t| t.is_empty() || t.len() > LONGEST_WORD || !printable(t) || t.contains(':')) {
            return Err(invalid(format!("userTemplate: 1 to {LONGEST_WORD} printable characters, no colon")));
        }
        let idle_ttl_s = self.idle_ttl_seconds.unwrap_or(3600);
        if !(60..=LONGEST_IDLE_S).contains(&idle_ttl_s) {
            return Err(invalid(format!("idleTtlSeconds: 60 to {LONGEST_IDLE_S}")));
        }
        if self.spend_cap_day.is_some_and(|cap| cap.currency != self.price.currency) {
            return Err(invalid("spendCapDay: in the currency of the price"));
        }
        Ok(Provider {
            id,
            name: words("name", &self.name, LONGEST_NAME)?,
            kind: self.kind,
            upstream: UpstreamKind::Exclusive,
            class: self.class.unwrap_or_default(),
            api_url: self.api_url.clone(),
            account: self.account.clone(),
            zone: self.zone.clone(),
            gateway_host: self.gateway_host.clone(),
            gateway_port: self.gateway_port,
            protocol: self.protocol.unwrap_or_default(),
            user_template: self.user_template.clone(),
            price: self.price,
            billing_grain: self.billing_grain,
            due_rule: self.due_rule.unwrap_or(DueRule::Strict),
            idle_ttl_s,
            spend_cap_day: self.spend_cap_day,
            active: self.active.unwrap_or(true),
            health: before.map_or(100, |p| p.health),
            ver: before.map_or(1, |p| p.ver + 1),
            created_at: before.map_or(by.at, |p| p.created_at),
            updated_at: by.at,
        })
    }

    /// Secrets go first: a row whose secrets are missing cannot be bought from.
    /// Returns the names of those that were sent.
    async fn put_secrets(&self, platform: &Platform, id: &ProviderId) -> Result<Vec<String>, Refusal> {
        let named = [(management_secret(id), &self.management_key), (gateway_secret(id), &self.gateway_password)];
        let mut put = Vec::new();
        for (name, value) in named {
            let Some(value) = value else { continue };
            match platform.secrets.put(&name, value.clone()).await {
                Ok(()) => put.push(name),
                Err(SecretError::Missing(_)) => {
                    let detail = format!("the secret store has no secret {name}: create it there first");
                    return Err(Refusal::new(Code::Conflict, detail));
                }
                Err(e) => return Err(secret(e)),
            }
        }
        Ok(put)
    }
}

/// Name of the secret with a provider's gateway password, which edges read.
fn gateway_secret(provider: &ProviderId) -> String {
    format!("{provider}/gateway")
}

fn printable(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic())
}

fn view(p: &Provider) -> Value {
    json!({
        "id": p.id,
        "version": p.ver,
        "name": p.name,
        "type": p.kind,
        "upstream": p.upstream,
        "class": p.class,
        "apiUrl": p.api_url,
        "account": p.account,
        "zone": p.zone,
        "gatewayHost": p.gateway_host,
        "gatewayPort": p.gateway_port,
        "price": p.price,
        "billingGrain": p.billing_grain,
        "dueRule": p.due_rule,
        "idleTtlSeconds": p.idle_ttl_s,
        "spendCapDay": p.spend_cap_day,
        "active": p.active,
        "health": p.health,
        "createdAt": views::time(p.created_at),
        "updatedAt": views::time(p.updated_at),
    })
}

/// What the trail keeps of a change: the row, and which credentials were replaced.
fn with_credentials(shown: &Value, put: Vec<String>) -> Value {
    let mut after = shown.clone();
    after["credentialsReplaced"] = put.into();
    after
}

fn none() -> Refused {
    Refused::new(Code::NotFound, "there is no such provider")
}

/// `GET /admin/proxies/providers`
pub(super) async fn list(_: Admin<Viewer>, State(platform): State<Arc<Platform>>) -> Result<Json<Value>, Refused> {
    let rows = platform.store.providers().await.map_err(store)?;
    Ok(Json(json!({ "providers": rows.iter().map(view).collect::<Vec<_>>() })))
}

/// `GET /admin/proxies/providers/{id}`
pub(super) async fn show(
    _: Admin<Viewer>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<ProviderId>,
) -> Result<Json<Value>, Refused> {
    let row = platform.store.provider(&id).await.map_err(store)?.ok_or_else(none)?;
    Ok(Json(view(&row)))
}

/// `POST /admin/proxies/providers`
pub(super) async fn create(
    admin: Admin<Owner>,
    State(platform): State<Arc<Platform>>,
    key: Key,
    body: Body,
) -> Result<Done, Refused> {
    let wanted: Wanted = body.json()?;
    let id: ProviderId = identifier("id", wanted.id.as_deref().ok_or_else(|| invalid("id: missing"))?)?;
    let row = wanted.row(id.clone(), None, &admin.by)?;
    let work = Box::pin(async {
        let taken = || Refusal::new(Code::Conflict, "there is a provider with this id");
        if platform.store.provider(&id).await.map_err(store)?.is_some() {
            return Err(taken());
        }
        let put = wanted.put_secrets(&platform, &id).await?;
        if !platform.store.put_provider(&row, admin.by.at).await.map_err(store)? {
            return Err(taken());
        }
        let shown = view(&row);
        let after = with_credentials(&shown, put);
        admin.by.record(&platform, "provider.create", &format!("provider:{id}"), NOTHING, Some(&after)).await?;
        Ok(Done::new(StatusCode::CREATED, shown))
    });
    key.once(&platform, &admin.by, &body, work).await
}

/// `PUT /admin/proxies/providers/{id}`: the whole row; secrets only if they are sent.
pub(super) async fn replace(
    admin: Admin<Owner>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<ProviderId>,
    body: Body,
) -> Result<Json<Value>, Refused> {
    let wanted: Wanted = body.json()?;
    if wanted.id.as_ref().is_some_and(|named| named != id.as_str()) {
        return Err(invalid("id: another one than in the path"));
    }
    let before = platform.store.provider(&id).await.map_err(store)?.ok_or_else(none)?;
    let changed = || Refused::new(Code::Conflict, format!("the row changed: it is at version {} or later", before.ver));
    if wanted.version.is_some_and(|v| v != before.ver) {
        return Err(changed());
    }
    let row = wanted.row(id.clone(), Some(&before), &admin.by)?;
    let put = wanted.put_secrets(&platform, &id).await?;
    if !platform.store.put_provider(&row, admin.by.at).await.map_err(store)? {
        return Err(changed());
    }
    let shown = view(&row);
    admin
        .by
        .record(
            &platform,
            "provider.replace",
            &format!("provider:{id}"),
            Some(&view(&before)),
            Some(&with_credentials(&shown, put)),
        )
        .await?;
    Ok(Json(shown))
}

/// `DELETE /admin/proxies/providers/{id}`: refused while the provider bills for anything.
pub(super) async fn delete(
    admin: Admin<Owner>,
    State(platform): State<Arc<Platform>>,
    Named(id): Named<ProviderId>,
) -> Result<Json<Value>, Refused> {
    let row = platform.store.provider(&id).await.map_err(store)?.ok_or_else(none)?;
    let (held, open) = futures_util::future::try_join(platform.store.proxies(&id), platform.store.open_intents(&id))
        .await
        .map_err(store)?;
    let held = held.iter().filter(|p| p.state.is_held()).count();
    if held + open.len() > 0 {
        let detail = format!("{held} addresses are held and {} purchases open: set active to false first", open.len());
        return Err(Refused::new(Code::Conflict, detail));
    }
    if !platform.store.delete_provider(&id, row.ver, admin.by.at).await.map_err(store)? {
        return Err(Refused::new(Code::Conflict, "the row changed"));
    }
    admin.by.record(&platform, "provider.delete", &format!("provider:{id}"), Some(&view(&row)), NOTHING).await?;
    Ok(Json(json!({ "id": id, "deleted": true })))
}
