//! Version 1: one line of text, `PROXY TCP4 192.0.2.1 192.0.2.9 51000 443`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Malformed, Parsed, begins};

/// Most bytes of a line with its CRLF (section 2.1).
const MAX_LINE: usize = 107;
const SIGNATURE: &[u8] = b"PROXY ";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

pub(super) fn parse(buf: &[u8]) -> Result<Parsed, Malformed> {
    if !begins(buf, SIGNATURE)? {
        return Ok(Parsed::Incomplete);
    }
    let line = &buf[..buf.len().min(MAX_LINE)];
    match read(line)? {
        Parsed::Incomplete if line.len() == MAX_LINE => Err(Malformed("the line is longer than 107 bytes")),
        parsed => Ok(parsed),
    }
}

fn read(line: &[u8]) -> Result<Parsed, Malformed> {
    let mut rest = Fields { line, at: SIGNATURE.len() };
    let family = match rest.protocol()? {
        None => return Ok(Parsed::Incomplete),
        Some(b"TCP4") => Family::V4,
        Some(b"TCP6") => Family::V6,
        // UNKNOWN; whatever follows it up to the end of the line says nothing.
        Some(_) => {
            let rest = &line[rest.at..];
            let ends = rest.iter().position(|b| matches!(b, b'\r' | b'\n' | 0)).unwrap_or(rest.len());
            return end(line, line.len() - rest.len() + ends, None);
        }
    };
    let Some(source) = rest.address(family)? else { return Ok(Parsed::Incomplete) };
    let Some(_) = rest.address(family)? else { return Ok(Parsed::Incomplete) };
    let Some(port) = rest.port(b' ')? else { return Ok(Parsed::Incomplete) };
    let Some(_) = rest.port(b'\r')? else { return Ok(Parsed::Incomplete) };
    end(line, rest.at - 1, Some(SocketAddr::new(source, port)))
}

/// The line ends in CRLF at `at`, or is not complete.
fn end(line: &[u8], at: usize, source: Option<SocketAddr>) -> Result<Parsed, Malformed> {
    match &line[at..] {
        [] | [b'\r'] => Ok(Parsed::Incomplete),
        [b'\r', b'\n', ..] => Ok(Parsed::Complete { length: at + 2, source }),
        _ => Err(Malformed("the line does not end in CRLF")),
    }
}

/// The fields of a line, each followed by exactly one separator. `None` = not complete yet.
struct Fields<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// TCP4, TCP6 or UNKNOWN. UNKNOWN may end the line: what follows it is left.
    fn protocol(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let rest = &self.line[self.at..];
        for word in [b"TCP4".as_slice(), b"TCP6", b"UNKNOWN"] {
            let n = rest.len().min(word.len());
            if rest[..n] != word[..n] {
                continue;
            }
            match (rest.get(word.len()), word) {
                (None, _) => return Ok(None),
                (Some(b' '), _) => self.at += word.len() + 1,
                (Some(b'\r'), b"UNKNOWN") => self.at += word.len(),
                (Some(_), _) => break,
            }
            return Ok(Some(word));
        }
        Err(Malformed("the protocol is not TCP4, TCP6 or UNKNOWN"))
    }

    /// The field up to `separator`, of at most `longest` bytes that all are `allowed`.
    fn field(
        &mut self,
        separator: u8,
        longest: usize,
        allowed: impl Fn(u8) -> bool,
    ) -> Result<Option<&'a str>, Malformed> {
        let bad = Malformed("a field is malformed");
        let rest = &self.line[self.at..];
        let n = rest.iter().take_while(|b| allowed(**b)).count();
        match rest.get(n) {
            _ if n > longest => Err(bad),
            None => Ok(None),
            Some(b) if *b == separator && n > 0 => {
                self.at += n + 1;
                std::str::from_utf8(&rest[..n]).map(Some).map_err(|_| bad)
            }
            Some(_) => Err(bad),
        }
    }

    /// An address, in the forms that `inet_pton` takes.
    fn address(&mut self, family: Family) -> Result<Option<IpAddr>, Malformed> {
        let text = match family {
            Family::V4 => self.field(b' ', 15, |b| b.is_ascii_digit() || b == b'.'),
            Family::V6 => self.field(b' ', 45, |b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')),
        }?;
        let Some(text) = text else { return Ok(None) };
        let ip = match family {
            Family::V4 => text.parse::<Ipv4Addr>().map(IpAddr::V4),
            Family::V6 => text.parse::<Ipv6Addr>().map(IpAddr::V6),
        };
        ip.map(Some).map_err(|_| Malformed("an address is malformed"))
    }

    /// A port, 0–65535, without leading zeroes.
    fn port(&mut self, separator: u8) -> Result<Option<u16>, Malformed> {
        let Some(text) = self.field(separator, 5, |b| b.is_ascii_digit())? else { return Ok(None) };
        let plain = text.len() == 1 || !text.starts_with('0');
        text.parse().ok().filter(|_| plain).map(Some).ok_or(Malformed("a port is malformed"))
    }
}
