//! What is held, and what it costs.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::envelope::Refused;
use crate::api::principal::{Admin, Viewer};
use crate::metrics::{ProxyMetrics, proxy_metrics};
use crate::outcome::store;
use crate::platform::Platform;

/// `GET /admin/proxies/metrics`
pub(super) async fn metrics(
    _: Admin<Viewer>,
    State(platform): State<Arc<Platform>>,
) -> Result<Json<ProxyMetrics>, Refused> {
    Ok(Json(proxy_metrics(&platform).await.map_err(store)?))
}
