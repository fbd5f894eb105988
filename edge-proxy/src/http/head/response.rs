//! What upstreams answer.

use super::hop::{keep_alive, pass_on};
use super::lines::{Lines, Span, span};
use super::{MAX_HEADERS, body, strict_lines};
use crate::http::framing::{Body, Framing};

/// What an upstream answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResponseHead {
    pub status: u16,
    pub minor: u8,
    reason: Span,
    pub headers: Lines,
    pub length: usize,
}

impl ResponseHead {
    /// Reads a complete head.
    ///
    /// # Errors
    /// What is wrong, for logs.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        strict_lines(bytes).map_err(|r| r.detail)?;
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(bytes) {
            Ok(httparse::Status::Complete(n)) => n,
            Ok(httparse::Status::Partial) => return Err("the head is not complete".to_owned()),
            Err(e) => return Err(format!("the head is malformed: {e}")),
        };
        let (Some(status), Some(minor)) = (response.code, response.version) else {
            return Err("the status line is not complete".to_owned());
        };
        // RFC 9110 section 15 ends them at 599, but some answer with more.
        if status < 100 {
            return Err("the status is below 100".to_owned());
        }
        let reason = span(bytes, response.reason.unwrap_or_default().as_bytes());
        Ok(Self { status, minor, reason, headers: Lines::new(bytes, response.headers), length })
    }

    /// The words beside the status.
    pub fn reason(&self) -> &str {
        self.headers.text(self.reason)
    }

    /// The first value of a header, where it is text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|h| h.is(name)).and_then(|h| std::str::from_utf8(h.value).ok())
    }

    /// How the body of an answer to `method` ends.
    ///
    /// # Errors
    /// What is wrong, for logs.
    pub fn body(&self, method: &str) -> Result<Body, String> {
        if method == "HEAD" || (100..200).contains(&self.status) || matches!(self.status, 204 | 304) {
            return Ok(Body::length(0));
        }
        Ok(match body::framing(&self.headers, self.minor)? {
            Framing::Length(n) => Body::length(n),
            Framing::Chunked => Body::chunked(),
            Framing::None => Body::until_close(),
        })
    }

    /// Whether the upstream wants to go on after this answer.
    pub fn keep_alive(&self) -> bool {
        keep_alive(&self.headers, self.minor)
    }

    /// The answer as it goes to the client.
    pub fn forward(&self, keep_alive: bool, via: Option<&str>) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.length + 128);
        let status = self.status.to_string();
        let mut put = |pieces: &[&str]| pieces.iter().for_each(|p| out.extend_from_slice(p.as_bytes()));
        put(&["HTTP/1.1 ", &status, " ", self.reason(), "\r\n"]);
        let switching = self.status == 101;
        pass_on(&self.headers, &mut out, switching, |_| false);
        let mut put = |pieces: &[&str]| pieces.iter().for_each(|p| out.extend_from_slice(p.as_bytes()));
        if let Some(name) = via {
            put(&["Via: 1.1 ", name, "\r\n"]);
        }
        if switching {
            put(&["Connection: Upgrade\r\n"]);
        } else if !keep_alive && self.status >= 200 {
            put(&["Connection: close\r\n"]);
        }
        put(&["\r\n"]);
        out
    }
}
