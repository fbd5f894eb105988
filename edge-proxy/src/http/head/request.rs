//! What clients ask for.

use tollgate_domain::refusal::{Code, Refusal};

use super::hop::{keep_alive, pass_on};
use super::lines::{Lines, Span, span};
use super::{MAX_HEADERS, body, invalid, strict_lines};
use crate::http::framing::{Body, Framing};

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestHead {
    method: Span,
    target: Span,
    /// HTTP/1.`minor`.
    pub minor: u8,
    pub headers: Lines,
    /// Bytes it took, the empty lines before it included.
    pub length: usize,
}

/// How a request goes on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Forward<'a> {
    /// `Host`, from the target.
    pub host: &'a str,
    /// Our credentials for the upstream proxy.
    pub authorization: Option<&'a str>,
    /// The path, where no proxy but the origin itself is asked.
    pub path: Option<&'a str>,
    /// Our name in `Via`; none = this hop is not told.
    pub via: Option<&'a str>,
    /// Whether the client's wish to switch protocols goes on.
    pub upgrade: bool,
}

impl RequestHead {
    /// Reads a complete head.
    ///
    /// # Errors
    /// `REQUEST_INVALID` or `HEADER_TOO_LARGE`, with what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        strict_lines(bytes)?;
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(bytes) {
            Ok(httparse::Status::Complete(n)) => n,
            Ok(httparse::Status::Partial) => return Err(invalid("the head is not complete")),
            Err(httparse::Error::TooManyHeaders) => {
                let detail = format!("more than {MAX_HEADERS} headers");
                return Err(Refusal::new(Code::HeaderTooLarge, detail));
            }
            Err(e) => return Err(invalid(format!("the head is malformed: {e}"))),
        };
        let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
            return Err(invalid("the request line is not complete"));
        };
        let (method, target) = (span(bytes, method.as_bytes()), span(bytes, target.as_bytes()));
        Ok(Self { method, target, minor, headers: Lines::new(bytes, request.headers), length })
    }

    /// The same, with the empty lines before it.
    pub fn of_length(self, length: usize) -> Self {
        Self { length, ..self }
    }

    pub fn method(&self) -> &str {
        self.headers.text(self.method)
    }

    /// As in the request line.
    pub fn target(&self) -> &str {
        self.headers.text(self.target)
    }

    /// The only value of a header; `None` if it is not there.
    ///
    /// # Errors
    /// `REQUEST_INVALID` if it is there twice, or is not text.
    pub fn only(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        self.headers.only(name)
    }

    /// How the body ends.
    ///
    /// # Errors
    /// `REQUEST_INVALID` where two parsers could disagree.
    pub fn body(&self) -> Result<Body, Refusal> {
        match body::framing(&self.headers, self.minor).map_err(invalid)? {
            Framing::Length(n) => Ok(Body::length(n)),
            Framing::Chunked => Ok(Body::chunked()),
            Framing::None => Ok(Body::length(0)),
        }
    }

    /// Whether the client wants to go on after this request.
    pub fn keep_alive(&self) -> bool {
        keep_alive(&self.headers, self.minor)
    }

    /// Whether the client asks to switch protocols (RFC 9110 section 7.8).
    pub fn upgrade(&self) -> bool {
        self.minor > 0 && self.headers.says("connection", "upgrade") && self.headers.all("upgrade").next().is_some()
    }

    /// The request as it goes on: `Host` from the target, none of what concerns the client's
    /// connection to us. A client of HTTP/1.0 cannot read chunks: its version goes on, so that
    /// none are sent.
    pub fn forward(&self, how: &Forward<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.length + 256);
        let mut put = |pieces: &[&str]| pieces.iter().for_each(|p| out.extend_from_slice(p.as_bytes()));
        let minor = if self.minor == 0 { "0" } else { "1" };
        put(&[
            self.method(),
            " ",
            how.path.unwrap_or(self.target()),
            " HTTP/1.",
            minor,
            "\r\nHost: ",
            how.host,
            "\r\n",
        ]);
        let max_forwards = self.max_forwards();
        pass_on(&self.headers, &mut out, how.upgrade, |h| {
            h.is("host") || (max_forwards.is_some() && h.is("max-forwards"))
        });
        let mut put = |pieces: &[&str]| pieces.iter().for_each(|p| out.extend_from_slice(p.as_bytes()));
        if let Some(hops) = max_forwards {
            put(&["Max-Forwards: ", &hops.saturating_sub(1).to_string(), "\r\n"]);
        }
        if let Some(name) = how.via {
            put(&["Via: 1.", minor, " ", name, "\r\n"]);
        }
        if let Some(authorization) = how.authorization {
            put(&["Proxy-Authorization: ", authorization, "\r\n"]);
        }
        put(&[if how.upgrade { "Connection: Upgrade\r\n\r\n" } else { "Connection: keep-alive\r\n\r\n" }]);
        out
    }

    /// How many more proxies may pass an OPTIONS on (RFC 9110 section 7.6.2); other methods are not
    /// limited by it.
    pub fn max_forwards(&self) -> Option<u32> {
        let hops = self.only("max-forwards").ok().flatten().filter(|_| self.method() == "OPTIONS")?;
        hops.parse().ok()
    }
}
