//! Proxy URLs as lists: text, JSON or CSV, one per open line.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json;
use tollgate_domain::line::LineState;
use tollgate_domain::refusal::Code;

use crate::api::body::{Asked, invalid};
use crate::api::envelope::{ERROR_CODE, Refused};
use crate::api::principal::ListCaller;
use crate::credentials::{ProxyUrl, proxy_urls};
use crate::customers;
use crate::lockout;
use crate::outcome::store;
use crate::platform::Platform;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    format: Option<String>,
    /// Read by [`ListCaller`].
    #[serde(rename = "token")]
    _token: Option<String>,
}

enum Format {
    Text,
    Json,
    Csv,
}

/// `GET /v1/proxies`, `GET /api/proxies.php`. Who may not pass gets an empty list and the reason
/// in a header, so that programs that poll the list stop using it.
pub(super) async fn list(
    caller: ListCaller,
    Asked(asked): Asked<Listing>,
    headers: HeaderMap,
    State(platform): State<Arc<Platform>>,
) -> Result<Response, Refused> {
    let format = format(asked.format.as_deref(), &headers)?;
    let customer = lockout::take_in(&platform, caller.customer).await?;
    if let Some(refusal) = customers::blocked(&customer, caller.now) {
        return Ok(empty(refusal.code));
    }
    let id = &customer.id;
    let (lines, buckets) =
        futures_util::future::try_join(platform.store.lines(id), platform.store.allowances(id)).await.map_err(store)?;
    if customers::used_up(&customer, &buckets, caller.now) {
        return Ok(empty(Code::QuotaExhausted));
    }
    let open = lines.into_iter().filter(|l| l.state == LineState::Open && l.alias.is_none());
    let open = open.map(|l| (l.key.label, l.country)).collect::<Vec<_>>();
    let urls = proxy_urls(&platform, &customer.id, &open).await?;
    Ok(match format {
        Format::Text => plain("text/plain; charset=utf-8", urls.iter().map(|u| u.url() + "\n").collect()),
        Format::Csv => plain("text/csv; charset=utf-8", csv(&urls)),
        Format::Json => {
            let all = urls.iter().map(|u| json!({ "line": u.line, "country": u.country, "url": u.url() }));
            Json(json!({ "proxies": all.collect::<Vec<_>>() })).into_response()
        }
    })
}

fn empty(code: Code) -> Response {
    let mut answer = plain("text/plain; charset=utf-8", String::new());
    answer.headers_mut().insert(ERROR_CODE, HeaderValue::from_static(code.as_str()));
    answer
}

/// The query decides, then `Accept`, then text.
fn format(asked: Option<&str>, headers: &HeaderMap) -> Result<Format, Refused> {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    Ok(match asked {
        Some("text" | "txt") => Format::Text,
        Some("json") => Format::Json,
        Some("csv") => Format::Csv,
        Some(_) => return Err(invalid("format: one of text, json, csv")),
        None if accept.contains("application/json") => Format::Json,
        None if accept.contains("text/csv") => Format::Csv,
        None => Format::Text,
    })
}

fn plain(kind: &'static str, body: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response()
}

/// No field has a character that CSV must quote.
fn csv(urls: &[ProxyUrl]) -> String {
    let rows = urls.iter().map(|u| {
        let (host, port) = u.endpoint.rsplit_once(':').unwrap_or((&u.endpoint, ""));
        format!("{},{},{host},{port},{},{}\r\n", u.line, u.country, u.user, u.password.expose_secret())
    });
    std::iter::once("line,country,host,port,user,password\r\n".to_owned()).chain(rows).collect()
}
