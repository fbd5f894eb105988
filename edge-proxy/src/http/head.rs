//! Request and response heads.

use tollgate_domain::refusal::{Code, Refusal};

use super::framing::{Body, Framing};

/// Largest head, in bytes.
pub(crate) const MAX_HEAD: usize = 64 << 10;
/// Most header lines.
const MAX_HEADERS: usize = 128;

/// One header line, as sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub name: String,
    pub value: Vec<u8>,
}

impl Header {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestHead {
    pub method: String,
    pub target: String,
    /// HTTP/1.`minor`.
    pub minor: u8,
    pub headers: Vec<Header>,
    /// Bytes it took, the empty lines before it included.
    pub length: usize,
}

/// What an upstream answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResponseHead {
    pub status: u16,
    pub minor: u8,
    pub reason: String,
    pub headers: Vec<Header>,
    pub length: usize,
}

/// Headers that concern one connection only (RFC 9110 section 7.6.1), and what we never pass on.
const HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "upgrade",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-authentication-info",
    "proxy-features",
];

fn invalid(detail: impl Into<String>) -> Refusal {
    Refusal::new(Code::RequestInvalid, detail)
}

/// Length of the head at the start of `bytes`, if it is complete: up to and with the empty line.
/// The first `searched` bytes are known to hold no end.
///
/// # Errors
/// `HEADER_TOO_LARGE` once it cannot end within [`MAX_HEAD`].
pub(crate) fn complete(bytes: &[u8], searched: usize) -> Result<Option<usize>, Refusal> {
    let skip = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let within = &bytes[..bytes.len().min(MAX_HEAD)];
    // An end may straddle what is known.
    let from = skip.max(searched.saturating_sub(3)).min(within.len());
    // A line feed pair ends a head for lenient parsers: let it be read and refused.
    let ends = |n: usize| within[n..].starts_with(b"\r\n\r\n") || within[n..].starts_with(b"\n\n");
    if let Some(n) = (from..within.len()).find(|n| ends(*n)) {
        return Ok(Some(n + if within[n] == b'\r' { 4 } else { 2 }));
    }
    if bytes.len() >= MAX_HEAD {
        let detail = format!("the head is larger than {MAX_HEAD} bytes");
        return Err(Refusal::new(Code::HeaderTooLarge, detail));
    }
    Ok(None)
}

/// Every line must end in CRLF and nothing else.
fn strict_lines(bytes: &[u8]) -> Result<(), Refusal> {
    for (n, b) in bytes.iter().enumerate() {
        let before = n.checked_sub(1).map(|i| bytes[i]);
        let after = bytes.get(n + 1).copied();
        if (*b == b'\r' && after != Some(b'\n')) || (*b == b'\n' && before != Some(b'\r')) || *b == 0 {
            return Err(invalid("a line of the head does not end in CRLF"));
        }
    }
    Ok(())
}

fn own(headers: &[httparse::Header<'_>]) -> Vec<Header> {
    headers.iter().map(|h| Header { name: h.name.to_owned(), value: h.value.to_vec() }).collect()
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
        let (method, target) = (method.to_owned(), target.to_owned());
        Ok(Self { method, target, minor, headers: own(request.headers), length })
    }

    /// The only value of a header; `None` if it is not there.
    ///
    /// # Errors
    /// `REQUEST_INVALID` if it is there twice, or is not text.
    pub fn only(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let mut found = self.headers.iter().filter(|h| h.is(name));
        let Some(first) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(invalid(format!("the header {name} is there more than once")));
        }
        std::str::from_utf8(&first.value).map(Some).map_err(|_| invalid(format!("the header {name} is not text")))
    }

    /// How the body ends.
    ///
    /// # Errors
    /// `REQUEST_INVALID` where two parsers could disagree.
    pub fn body(&self) -> Result<Body, Refusal> {
        match framing(&self.headers, self.minor).map_err(invalid)? {
            Framing::Length(n) => Ok(Body::length(n)),
            Framing::Chunked => Ok(Body::chunked()),
            Framing::None => Ok(Body::length(0)),
        }
    }

    /// Whether the client wants to go on after this request.
    pub fn keep_alive(&self) -> bool {
        keep_alive(&self.headers, self.minor)
    }

    /// The request as it goes to the upstream proxy: absolute-form, `Host` from the target, none
    /// of what concerns the client's connection to us, our own credentials. A client of HTTP/1.0
    /// cannot read chunks: its version goes on, so that none are sent.
    pub fn forward(&self, host: &str, authorization: &str) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.{}\r\nHost: {host}\r\n", self.method, self.target, self.minor).into_bytes();
        pass_on(&self.headers, &mut out, |h| h.is("host"));
        out.extend_from_slice(
            format!("Proxy-Authorization: {authorization}\r\nConnection: keep-alive\r\n\r\n").as_bytes(),
        );
        out
    }
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
        let reason = response.reason.unwrap_or_default().to_owned();
        Ok(Self { status, minor, reason, headers: own(response.headers), length })
    }

    /// The first value of a header, where it is text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|h| h.is(name)).and_then(|h| std::str::from_utf8(&h.value).ok())
    }

    /// How the body of an answer to `method` ends.
    ///
    /// # Errors
    /// What is wrong, for logs.
    pub fn body(&self, method: &str) -> Result<Body, String> {
        if method == "HEAD" || (100..200).contains(&self.status) || matches!(self.status, 204 | 304) {
            return Ok(Body::length(0));
        }
        Ok(match framing(&self.headers, self.minor)? {
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
    pub fn forward(&self, keep_alive: bool) -> Vec<u8> {
        let mut out = format!("HTTP/1.1 {} {}\r\n", self.status, self.reason).into_bytes();
        pass_on(&self.headers, &mut out, |_| false);
        if !keep_alive && self.status >= 200 {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// Writes what may be passed on.
fn pass_on(headers: &[Header], out: &mut Vec<u8>, drop: impl Fn(&Header) -> bool) {
    let named: Vec<&[u8]> = headers.iter().filter(|h| h.is("connection")).flat_map(|h| tokens(&h.value)).collect();
    for h in headers {
        let hop = HOP.iter().any(|n| h.is(n));
        // Framing is ours to keep whatever `Connection` says of it.
        let framing = h.is("content-length") || h.is("transfer-encoding");
        let nominated = named.iter().any(|n| n.eq_ignore_ascii_case(h.name.as_bytes()));
        if hop || (nominated && !framing) || drop(h) {
            continue;
        }
        out.extend_from_slice(h.name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(&h.value);
        out.extend_from_slice(b"\r\n");
    }
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|t| !t.is_empty())
}

fn keep_alive(headers: &[Header], minor: u8) -> bool {
    let said = |word: &str| {
        let lists = headers.iter().filter(|h| h.is("connection") || h.is("proxy-connection"));
        lists.flat_map(|h| tokens(&h.value)).any(|t| t.eq_ignore_ascii_case(word.as_bytes()))
    };
    if minor == 0 { said("keep-alive") && !said("close") } else { !said("close") }
}

/// RFC 9112 section 6, refusing all that is ambiguous.
fn framing(headers: &[Header], minor: u8) -> Result<Framing, String> {
    let mut lengths = headers.iter().filter(|h| h.is("content-length"));
    let mut codings = headers.iter().filter(|h| h.is("transfer-encoding"));
    match (lengths.next(), codings.next()) {
        (Some(_), Some(_)) => Err("both Content-Length and Transfer-Encoding".to_owned()),
        (None, None) => Ok(Framing::None),
        (Some(length), None) => {
            if lengths.next().is_some() {
                return Err("Content-Length more than once".to_owned());
            }
            let digits =
                length.value.len() <= 19 && !length.value.is_empty() && length.value.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(&length.value).ok().filter(|_| digits).and_then(|t| t.parse().ok());
            number.map(Framing::Length).ok_or_else(|| "Content-Length is not a number".to_owned())
        }
        (None, Some(coding)) => {
            if codings.next().is_some() || minor == 0 || !coding.value.eq_ignore_ascii_case(b"chunked") {
                return Err("Transfer-Encoding is not exactly chunked".to_owned());
            }
            Ok(Framing::Chunked)
        }
    }
}
