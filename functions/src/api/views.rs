//! Nouns as the APIs show them: camelCase, times as RFC 3339.

use serde_json::{Value, json};
use tollgate_domain::customer::{Credential, Customer, Standing};
use tollgate_domain::plan::Plan;
use tollgate_domain::time::Timestamp;
use tollgate_store::api_key::{ApiKey, Holder};

use super::limits;

pub(super) fn time(t: Timestamp) -> Value {
    t.to_string().into()
}

pub(super) fn maybe(t: Option<Timestamp>) -> Value {
    t.map_or(Value::Null, time)
}

pub(super) fn status(customer: &Customer, now: Timestamp) -> &'static str {
    match customer.standing(now) {
        Standing::Active => "active",
        Standing::Locked { .. } => "locked",
        Standing::Expired { .. } => "expired",
        Standing::Banned => "banned",
        Standing::Deleted => "deleted",
    }
}

/// What a customer sees of itself.
pub(super) fn account(c: &Customer, now: Timestamp) -> Value {
    json!({
        "id": c.id,
        "name": c.name,
        "status": status(c, now),
        "plan": c.plan,
        "planVersion": c.plan_ver,
        "limits": limits::shown(&c.limits),
        "defaultCountry": c.default_country,
        "allowFallback": c.allow_fallback,
        "maxHops": c.max_hops,
        "auth": c.auth,
        "lockedUntil": maybe(c.locked_until.filter(|t| now < *t)),
        "expiresAt": maybe(c.expires_at),
        "createdAt": time(c.created_at),
    })
}

/// What an operator sees of a customer.
pub(super) fn customer(c: &Customer, now: Timestamp) -> Value {
    let mut shown = account(c, now);
    let ban = |b: &tollgate_domain::customer::Ban| json!({ "at": time(b.at), "reason": b.reason, "by": b.by });
    shown["version"] = c.ver.into();
    shown["ban"] = c.ban.as_ref().map_or(Value::Null, ban);
    shown["kickedAt"] = maybe(c.kicked_at);
    shown["deletedAt"] = maybe(c.deleted_at);
    shown
}

pub(super) fn plan(p: &Plan) -> Value {
    json!({ "code": p.code, "version": p.ver, "limits": limits::shown(&p.limits), "base": p.base, "perGb": p.per_gb })
}

pub(super) fn credential(c: &Credential) -> Value {
    json!({
        "user": c.user,
        "version": c.version,
        "previousUntil": maybe(c.previous.as_ref().map(|p| p.until)),
        "createdAt": time(c.created_at),
    })
}

pub(super) fn api_key(k: &ApiKey) -> Value {
    let scopes = match &k.holder {
        Holder::Customer { scopes, .. } => json!(scopes),
        Holder::Admin { role, .. } => json!([role]),
    };
    json!({
        "id": k.id(),
        "last4": k.last4,
        "scopes": scopes,
        "createdAt": time(k.created_at),
        "revokedAt": maybe(k.revoked_at),
    })
}
