//! What callers send: JSON bodies, queries and path segments, bounded and checked.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tollgate_domain::country::Country;
use tollgate_domain::id::{CustomerId, InvalidId, LineLabel, ProviderId, UserName};
use tollgate_domain::proxy::ProxyClass;
use tollgate_domain::refusal::Code;

use super::envelope::Refused;

/// Largest body, in bytes.
pub(super) const LARGEST_BODY: usize = 64 << 10;

/// Entries on a page unless asked otherwise.
const PAGE: usize = 50;
/// Most entries on a page.
const LARGEST_PAGE: usize = 200;

/// Which part of a list: what comes after `after`, the `next` of the page before.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page<T> {
    pub after: Option<T>,
    limit: Option<usize>,
}

impl<T> Page<T> {
    /// Entries on it.
    pub fn limit(&self) -> Result<usize, Refused> {
        page_of(self.limit)
    }
}

/// Entries on a page of which so many are asked for.
pub(super) fn page_of(limit: Option<usize>) -> Result<usize, Refused> {
    let limit = limit.unwrap_or(PAGE);
    let fits = (1..=LARGEST_PAGE).contains(&limit);
    fits.then_some(limit).ok_or_else(|| invalid(format!("limit: 1 to {LARGEST_PAGE}")))
}

/// A request's body, at most [`LARGEST_BODY`] bytes.
pub(super) struct Body(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Refused;
    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        Bytes::from_request(request, state).await.map(Self).map_err(|e| {
            if e.status() == StatusCode::PAYLOAD_TOO_LARGE {
                Refused::new(Code::BodyTooLarge, format!("the body may have {LARGEST_BODY} bytes"))
            } else {
                Refused::new(Code::Validation, "the body ended before it was complete")
            }
        })
    }
}

impl Body {
    /// The body as JSON; nothing at all reads as `{}`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        let text: &[u8] = if self.0.is_empty() { b"{}" } else { &self.0 };
        serde_json::from_slice(text).map_err(|e| invalid(format!("the body is not as documented: {e}")))
    }
}

/// The query, with unknown fields refused by `T`.
pub(super) struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refused;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let Query(asked) = Query::try_from_uri(&parts.uri).map_err(|e| invalid(e.body_text()))?;
        Ok(Self(asked))
    }
}

/// The identifiers in the path. One that breaks its rule names nothing: 404.
pub(super) struct Named<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Refused;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(t)| Self(t)).map_err(|_| Refused::new(Code::NotFound, "the path names nothing that can exist"))
    }
}

/// Longest detail of a refusal, in characters: it may repeat what the caller sent.
const LONGEST_DETAIL: usize = 300;

pub(super) fn invalid(detail: impl Into<String>) -> Refused {
    Refused::new(Code::Validation, detail.into().chars().take(LONGEST_DETAIL).collect::<String>())
}

/// An identifier in a body.
pub(super) trait Identifier: std::str::FromStr<Err = InvalidId> {}
impl Identifier for CustomerId {}
impl Identifier for UserName {}
impl Identifier for ProviderId {}

/// The identifier `text` of field `field`.
pub(super) fn identifier<T: Identifier>(field: &str, text: &str) -> Result<T, Refused> {
    text.parse().map_err(|e: InvalidId| invalid(format!("{field}: {e}")))
}

/// A line label; a UUID may have its hyphens, and loses them.
pub(super) fn line(text: &str) -> Result<LineLabel, Refused> {
    let plain = if is_uuid(text) { text.replace('-', "") } else { text.to_owned() };
    LineLabel::new(plain).map_err(|e| invalid(format!("line: {e}, or a UUID")))
}

fn is_uuid(s: &str) -> bool {
    let hyphens = [8, 13, 18, 23];
    s.len() == 36
        && s.bytes().enumerate().all(|(n, b)| if hyphens.contains(&n) { b == b'-' } else { b.is_ascii_hexdigit() })
}

/// A country by code or alias.
pub(super) fn country(text: &str) -> Result<Country, Refused> {
    Country::parse(text).ok_or_else(|| {
        let shown = text.chars().take(16).collect::<String>();
        Refused::new(Code::CountryUnknown, format!("country: {shown:?} is not an ISO 3166-1 alpha-2 code"))
    })
}

/// A class of network.
pub(super) fn class(text: &str) -> Result<ProxyClass, Refused> {
    ProxyClass::parse(text).ok_or_else(|| invalid("type: one of isp, datacenter, residential, mobile"))
}

/// A text for people: 1 to `longest` characters, none of them a control.
pub(super) fn words(field: &str, text: &str, longest: usize) -> Result<String, Refused> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > longest || text.chars().any(char::is_control) {
        return Err(invalid(format!("{field}: 1 to {longest} characters")));
    }
    Ok(text.to_owned())
}
