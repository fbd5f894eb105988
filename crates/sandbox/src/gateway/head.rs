//! Heads of HTTP/1.1 messages: reading them off a socket, and what this proxy needs of them.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::framing::Framing;

/// Largest head.
pub(super) const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 128;

#[derive(Debug)]
pub(super) enum HeadError {
    Io(io::Error),
    TooLarge,
}

/// Reads up to and including the empty line; what follows it stays in `buffer`. `None` if the
/// peer closed before a head began.
pub(super) async fn read_head<R>(source: &mut R, buffer: &mut Vec<u8>) -> Result<Option<Vec<u8>>, HeadError>
where
    R: AsyncRead + Unpin,
{
    let mut searched = 0;
    loop {
        if let Some(at) = buffer[searched..].windows(4).position(|w| w == b"\r\n\r\n") {
            let rest = buffer.split_off(searched + at + 4);
            return Ok(Some(std::mem::replace(buffer, rest)));
        }
        if buffer.len() > MAX_HEAD {
            return Err(HeadError::TooLarge);
        }
        searched = buffer.len().saturating_sub(3);
        match source.read_buf(buffer).await {
            Ok(0) if buffer.is_empty() => return Ok(None),
            Ok(0) => return Err(HeadError::Io(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => {}
            Err(e) => return Err(HeadError::Io(e)),
        }
    }
}

/// Header fields, in order.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, Vec<u8>)>);

impl Fields {
    fn of(headers: &[httparse::Header<'_>]) -> Self {
        Self(headers.iter().map(|h| (h.name.to_owned(), h.value.to_vec())).collect())
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_slice())
    }

    /// Lower-case items of a comma-separated field.
    fn items(&self, name: &str) -> Vec<String> {
        let lines = self.all(name).map(|v| String::from_utf8_lossy(v).to_ascii_lowercase());
        lines.flat_map(|l| l.split(',').map(|i| i.trim().to_owned()).collect::<Vec<_>>()).collect()
    }

    /// Writes the fields that concern the next hop, too.
    fn write_end_to_end(&self, out: &mut Vec<u8>) {
        let nominated = self.items("connection");
        let single_hop = ["connection", "keep-alive", "proxy-authorization", "proxy-connection"];
        for (name, value) in &self.0 {
            let lower = name.to_ascii_lowercase();
            if single_hop.contains(&lower.as_str()) || nominated.contains(&lower) {
                continue;
            }
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// The body's framing: `Ok(None)` if no field says. An error for what could be read two ways.
    fn framing(&self) -> Result<Option<Framing>, ()> {
        let codings = self.items("transfer-encoding");
        let lengths: Vec<_> = self.all("content-length").collect();
        match (codings.as_slice(), lengths.as_slice()) {
            ([], []) => Ok(None),
            ([one], []) if one == "chunked" => Ok(Some(Framing::chunked())),
            ([], [first, others @ ..]) if others.iter().all(|o| o == first) => {
                let text = std::str::from_utf8(first).map_err(|_| ())?;
                if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(());
                }
                text.parse().map(|n| Some(Framing::Length(n))).map_err(|_| ())
            }
            _ => Err(()),
        }
    }
}

/// A proxy request: CONNECT, or a method with an absolute `http:` target.
#[derive(Debug)]
pub(super) struct RequestHead {
    method: String,
    minor_version: u8,
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query; empty for CONNECT.
    path: String,
    fields: Fields,
    framing: Framing,
}

impl RequestHead {
    pub(super) fn parse(head: &[u8]) -> Option<Self> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        request.parse(head).ok()?;
        let (method, target, minor_version) = (request.method?, request.path?, request.version?);
        let (host, port, path) = if method == "CONNECT" {
            let (host, port) = target.rsplit_once(':')?;
            (host, port.parse().ok()?, "")
        } else {
            let rest = target.get(..7).filter(|s| s.eq_ignore_ascii_case("http://")).and(target.get(7..))?;
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            match authority.rsplit_once(':') {
                Some((host, port)) => (host, port.parse().ok()?, path),
                None => (authority, 80, path),
            }
        };
        if host.is_empty() || host.contains('@') {
            return None;
        }
        let fields = Fields::of(request.headers);
        let framing = fields.framing().ok()?.unwrap_or(Framing::Length(0));
        let (host, method) = (host.to_owned(), method.to_owned());
        Some(Self { method, minor_version, host, port, path: path.to_owned(), fields, framing })
    }

    pub(super) fn is_connect(&self) -> bool {
        self.method == "CONNECT"
    }

    pub(super) fn proxy_authorization(&self) -> Option<&[u8]> {
        self.fields.all("proxy-authorization").next()
    }

    pub(super) fn framing(&self) -> Framing {
        self.framing
    }

    pub(super) fn wants_keep_alive(&self) -> bool {
        let mut options = self.fields.items("connection");
        options.extend(self.fields.items("proxy-connection"));
        let has = |o: &str| options.iter().any(|i| i == o);
        !has("close") && (self.minor_version == 1 || has("keep-alive"))
    }

    /// The head as the origin gets it, on a connection of its own.
    pub(super) fn for_origin(&self) -> Vec<u8> {
        let slash = if self.path.starts_with('/') { "" } else { "/" };
        let Self { method, path, minor_version, .. } = self;
        let mut out = format!("{method} {slash}{path} HTTP/1.{minor_version}\r\n").into_bytes();
        self.fields.write_end_to_end(&mut out);
        out.extend_from_slice(b"Connection: close\r\n\r\n");
        out
    }
}

/// The head of a response.
#[derive(Debug)]
pub(super) struct ResponseHead {
    status: u16,
    reason: String,
    fields: Fields,
    framing: Framing,
}

impl ResponseHead {
    /// `request` decides, too, whether a body follows.
    pub(super) fn parse(head: &[u8], request: &RequestHead) -> Option<Self> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        response.parse(head).ok()?;
        let status = response.code?;
        let fields = Fields::of(response.headers);
        let no_body = request.method == "HEAD" || status < 200 || status == 204 || status == 304;
        let framing = if no_body { Framing::Length(0) } else { fields.framing().ok()?.unwrap_or(Framing::UntilClose) };
        Some(Self { status, reason: response.reason.unwrap_or_default().to_owned(), fields, framing })
    }

    /// 1xx: another head follows.
    pub(super) fn is_interim(&self) -> bool {
        self.status < 200
    }

    pub(super) fn framing(&self) -> Framing {
        self.framing
    }

    /// The head as the client gets it.
    pub(super) fn for_client(&self, exit: std::net::Ipv4Addr, keep_alive: bool) -> Vec<u8> {
        let mut out = format!("HTTP/1.1 {} {}\r\n", self.status, self.reason).into_bytes();
        self.fields.write_end_to_end(&mut out);
        if !self.is_interim() {
            out.extend_from_slice(format!("x-brd-ip: {exit}\r\n").as_bytes());
            let option = if keep_alive { "keep-alive" } else { "close" };
            out.extend_from_slice(format!("Connection: {option}\r\n").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

#[cfg(test)]
mod tests;
