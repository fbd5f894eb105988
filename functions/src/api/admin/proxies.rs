//! What is held, what it costs, and what became of one proxy.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use tollgate_domain::id::{ProviderId, ProxyId};

use crate::api::body::Named;
use crate::api::envelope::Refused;
use crate::api::principal::{Admin, Viewer};
use crate::api::views;
use crate::metrics::{ProxyMetrics, proxy_metrics};
use crate::outcome::store;
use crate::platform::Platform;
use crate::proxy_use::{self, Used};

/// `GET /admin/proxies/metrics`
pub(super) async fn metrics(
    _: Admin<Viewer>,
    State(platform): State<Arc<Platform>>,
) -> Result<Json<ProxyMetrics>, Refused> {
    Ok(Json(proxy_metrics(&platform).await.map_err(store)?))
}

/// `GET /admin/proxies/{provider}/{ip}`
pub(super) async fn show(
    _: Admin<Viewer>,
    State(platform): State<Arc<Platform>>,
    Named((provider, ip)): Named<(ProviderId, String)>,
) -> Result<Json<Value>, Refused> {
    let id = ProxyId { provider, ip };
    let summary = Box::pin(proxy_use::summary(&platform, &id)).await?;
    let mut shown = used(summary.used.as_ref());
    shown["provider"] = json!(id.provider);
    shown["ip"] = json!(id.ip);
    shown["state"] = json!(summary.proxy.as_ref().map(|p| p.state));
    shown["country"] = json!(summary.proxy.as_ref().map(|p| p.country));
    let customers = summary.customers.iter().map(|(customer, of)| {
        let mut one = used(Some(of));
        one["customer"] = json!(customer);
        one
    });
    shown["customers"] = customers.collect::<Vec<_>>().into();
    Ok(Json(shown))
}

fn used(of: Option<&Used>) -> Value {
    json!({
        "totalBytes": of.map_or(0, |u| u.bytes),
        "lastUsedAt": views::maybe(of.map(|u| u.last_at)),
        "openTunnels": of.map_or(0, |u| u.open),
    })
}
