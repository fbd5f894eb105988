//! One HTTP call to a provider, and what of it is proven: that nothing was sent, that an answer
//! came, or neither.

use std::error::Error as _;
use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

/// Time to reach the provider.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// Longest text of a provider that goes into a reason.
const MAX_WORDS: usize = 300;

/// Longest wait that a provider may ask for.
const MAX_RETRY_AFTER: u64 = 3600;

/// Settings that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not an address that a key may be sent to.
    #[error("the provider's API address {url:?} cannot be used: {why}")]
    Url {
        /// As given.
        url: String,
        /// Why not.
        why: String,
    },
    /// A key that no header can carry.
    #[error("the provider's API key is empty or holds characters that no key has")]
    Key,
    /// The HTTP client could not be made.
    #[error("cannot make an HTTP client: {0}")]
    Client(String),
}

/// Where to call, and with which key.
#[derive(Debug)]
pub(crate) struct Api {
    client: reqwest::Client,
    base: Url,
    key: SecretString,
}

/// What to call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) body: Option<Value>,
    /// Most bytes of an answer.
    pub(crate) limit: usize,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The provider answered, at least with a status.
    Answered(Answer),
    /// The provider never saw the request.
    NotSent(String),
    /// It may have seen it.
    Lost(String),
}

/// Whether a body can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Whole,
    Broken,
    TooLarge,
}

/// An answer. Its text never holds the key, even if the provider repeated it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Body,
    pub(crate) text: String,
    /// `x-brd-err-code`: a failure, whatever the status says.
    pub(crate) error_code: Option<String>,
}

impl Api {
    pub(crate) fn new(base: &str, key: SecretString) -> Result<Self, ConfigError> {
        let base = usable(base).map_err(|why| ConfigError::Url { url: base.to_owned(), why })?;
        if key.expose_secret().is_empty() || !key.expose_secret().bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ConfigError::Key);
        }
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIME)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            // Calls are rare, and a connection that the provider closed meanwhile would turn a
            // purchase into an unknown one.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| ConfigError::Client(chain(&e)))?;
        Ok(Self { client, base, key })
    }

    /// Sends `call` once.
    pub(crate) async fn send(&self, call: &Call, within: Duration) -> Outcome {
        if within.is_zero() {
            return Outcome::NotSent("no time was left to send it".into());
        }
        let mut url = self.base.clone();
        url.set_path(&format!("{}{}", self.base.path().trim_end_matches('/'), call.path));
        let mut request = self.client.request(call.method.clone(), url).timeout(within);
        request = request.bearer_auth(self.key.expose_secret()).query(&call.query);
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        match request.send().await {
            Ok(response) => Outcome::Answered(self.read(response, call.limit).await),
            Err(e) if e.is_connect() || e.is_builder() => Outcome::NotSent(chain(&e.without_url())),
            Err(e) => Outcome::Lost(chain(&e.without_url())),
        }
    }

    async fn read(&self, mut response: reqwest::Response, limit: usize) -> Answer {
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let retry_after = header("retry-after").and_then(|v| v.trim().parse().ok());
        let error_code = header("x-brd-err-code").or_else(|| header("x-brd-error-code"));
        let status = response.status();
        let mut bytes = Vec::new();
        let body = loop {
            match response.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() > limit => break Body::TooLarge,
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break Body::Whole,
                Err(_) => break Body::Broken,
            }
        };
        Answer {
            status,
            retry_after: retry_after.map(|s: u64| Duration::from_secs(s.min(MAX_RETRY_AFTER))),
            body,
            text: String::from_utf8_lossy(&bytes).replace(self.key.expose_secret(), "[key]"),
            error_code: error_code.map(|c| c.replace(self.key.expose_secret(), "[key]")),
        }
    }
}

impl Answer {
    /// Whether the call was done and its answer is all there.
    pub(crate) fn is_success(&self) -> bool {
        self.status.is_success() && self.body == Body::Whole && self.error_code.is_none()
    }

    /// What the provider says, for people: the message of a JSON error, else the text, in one
    /// short line.
    pub(crate) fn words(&self) -> String {
        let json: Value = serde_json::from_str(&self.text).unwrap_or_default();
        let error = &json["error"];
        let parts = [&error["code"], &error["message"], error, &json["message"]];
        let said = parts.into_iter().filter_map(Value::as_str).collect::<Vec<_>>().join(": ");
        let said = if said.is_empty() { &self.text } else { &said };
        let line = said.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty());
        let line = line.collect::<Vec<_>>().join(" ");
        let mut words = self.error_code.clone().unwrap_or_default();
        if !words.is_empty() && !line.is_empty() {
            words.push_str(": ");
        }
        words.push_str(&line);
        words.chars().take(MAX_WORDS).collect()
    }

    /// The status, and the words if there are any.
    pub(crate) fn summary(&self) -> String {
        let words = self.words();
        if words.is_empty() { self.status.as_u16().to_string() } else { format!("{}: {words}", self.status.as_u16()) }
    }
}

fn usable(base: &str) -> Result<Url, String> {
    let url: Url = base.parse().map_err(|e| format!("{e}"))?;
    let local = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    match url.scheme() {
        _ if !url.username().is_empty() || url.password().is_some() => Err("it holds credentials".into()),
        _ if url.query().is_some() || url.fragment().is_some() => Err("it holds a query".into()),
        "https" => Ok(url),
        "http" if local => Ok(url),
        "http" => Err("the key would travel in the clear: use https".into()),
        other => Err(format!("{other} is neither https nor http")),
    }
}

/// An error with its causes, which reqwest leaves out of its words.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text.chars().take(MAX_WORDS).collect()
}
