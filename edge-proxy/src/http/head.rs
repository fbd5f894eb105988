//! Request and response heads.

use tollgate_domain::refusal::{Code, Refusal};

use super::framing::{Body, Framing};

/// Largest head, in bytes.
pub(crate) const MAX_HEAD: usize = 64 << 10;
/// Most header lines.
const MAX_HEADERS: usize = 128;

/// Where a piece of a head is within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    from: u32,
    to: u32,
}

/// The header lines of a head, as sent: one copy of its bytes, and where each piece is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lines {
    raw: Vec<u8>,
    /// Name and value.
    lines: Vec<(Span, Span)>,
}

/// One header line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header<'a> {
    pub name: &'a [u8],
    pub value: &'a [u8],
}

impl Header<'_> {
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

impl Lines {
    fn new(raw: &[u8], headers: &[httparse::Header<'_>]) -> Self {
        let span = |piece: &[u8]| span(raw, piece);
        let lines = headers.iter().map(|h| (span(h.name.as_bytes()), span(h.value))).collect();
        Self { raw: raw.to_vec(), lines }
    }

    fn get(&self, span: Span) -> &[u8] {
        self.raw.get(span.from as usize..span.to as usize).unwrap_or_default()
    }

    fn text(&self, span: Span) -> &str {
        std::str::from_utf8(self.get(span)).unwrap_or_default()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Header<'_>> {
        self.lines.iter().map(|(name, value)| Header { name: self.get(*name), value: self.get(*value) })
    }

    /// Those with this name.
    pub fn all<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |h| h.is(name)).map(|h| h.value)
    }

    /// The only value of a header; `None` if it is not there.
    ///
    /// # Errors
    /// `REQUEST_INVALID` if it is there twice, or is not text.
    pub fn only(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        let mut found = self.all(name);
        let Some(first) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(invalid(format!("the header {name} is there more than once")));
        }
        std::str::from_utf8(first).map(Some).map_err(|_| invalid(format!("the header {name} is not text")))
    }

    /// Whether a list header has this word.
    pub fn says(&self, name: &'static str, word: &str) -> bool {
        self.all(name).flat_map(tokens).any(|t| t.eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// Where `piece`, a part of `whole`, is within it; nowhere if it is no part of it.
fn span(whole: &[u8], piece: &[u8]) -> Span {
    let from = (piece.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    match (u32::try_from(from), u32::try_from(from.wrapping_add(piece.len()))) {
        (Ok(from), Ok(to)) if to as usize <= whole.len() => Span { from, to },
        _ => Span::default(),
    }
}

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

/// What an upstream answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResponseHead {
    pub status: u16,
    pub minor: u8,
    reason: Span,
    pub headers: Lines,
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

/// Writes what may be passed on.
fn pass_on(headers: &Lines, out: &mut Vec<u8>, upgrade: bool, drop: impl Fn(&Header<'_>) -> bool) {
    let nominations = headers.all("connection").next().is_some();
    for h in headers.iter() {
        let switch = upgrade && h.is("upgrade");
        let hop = HOP.iter().any(|n| h.is(n)) && !switch;
        // Framing is ours to keep whatever `Connection` says of it.
        let framing = h.is("content-length") || h.is("transfer-encoding");
        let nominated = nominations
            && !switch
            && !framing
            && headers.all("connection").flat_map(tokens).any(|n| n.eq_ignore_ascii_case(h.name));
        if hop || nominated || drop(&h) {
            continue;
        }
        for piece in [h.name, b": ", h.value, b"\r\n"] {
            out.extend_from_slice(piece);
        }
    }
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|t| !t.is_empty())
}

fn keep_alive(headers: &Lines, minor: u8) -> bool {
    let said = |word: &str| headers.says("connection", word) || headers.says("proxy-connection", word);
    if minor == 0 { said("keep-alive") && !said("close") } else { !said("close") }
}

/// RFC 9112 section 6, refusing all that is ambiguous.
fn framing(headers: &Lines, minor: u8) -> Result<Framing, String> {
    let mut lengths = headers.all("content-length");
    let mut codings = headers.all("transfer-encoding");
    match (lengths.next(), codings.next()) {
        (Some(_), Some(_)) => Err("both Content-Length and Transfer-Encoding".to_owned()),
        (None, None) => Ok(Framing::None),
        (Some(length), None) => {
            if lengths.next().is_some() {
                return Err("Content-Length more than once".to_owned());
            }
            let digits = length.len() <= 19 && !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(length).ok().filter(|_| digits).and_then(|t| t.parse().ok());
            number.map(Framing::Length).ok_or_else(|| "Content-Length is not a number".to_owned())
        }
        (None, Some(coding)) => {
            if codings.next().is_some() || minor == 0 || !coding.eq_ignore_ascii_case(b"chunked") {
                return Err("Transfer-Encoding is not exactly chunked".to_owned());
            }
            Ok(Framing::Chunked)
        }
    }
}
