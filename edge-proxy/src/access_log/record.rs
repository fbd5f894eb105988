//! One record, and how it is written: JSON straight into the buffer.

use std::net::IpAddr;

use tollgate_domain::time::Timestamp;

/// Longest text of one field, in bytes of the text; the rest is cut off.
const MAX_TEXT: usize = 256;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A CONNECT or SOCKS tunnel.
    Tunnel,
    /// One request in absolute form.
    Request,
    /// A UDP association.
    Udp,
}

impl Kind {
    /// The word in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tunnel => "tunnel",
            Self::Request => "request",
            Self::Udp => "udp",
        }
    }
}

/// One connection, as the log tells it. Fields that are `None` are left out. There is no field
/// for a target, a password or a head, so none can be logged.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// What it was.
    pub kind: Kind,
    /// The edge's number of the connection, as kicks name it.
    pub connection: u64,
    /// Whose it was.
    pub customer: &'a str,
    /// The name that logged in, without its options; none where the address did.
    pub user: Option<&'a str>,
    /// The line's label.
    pub line: Option<&'a str>,
    /// The port that the client reached.
    pub listener_port: u16,
    /// The proxy it went over: an id, never its credentials.
    pub upstream: Option<&'a str>,
    /// Country of that proxy.
    pub country: Option<&'a str>,
    /// Bytes from the client.
    pub ingress_bytes: u64,
    /// Bytes to the client.
    pub egress_bytes: u64,
    /// Milliseconds until the upstream was ready.
    pub connect_ms: Option<u64>,
    /// Milliseconds until the upstream's first byte.
    pub first_byte_ms: Option<u64>,
    /// Milliseconds in all.
    pub duration_ms: u64,
    /// Why it ended.
    pub reason: &'a str,
    /// What joins this record to other logs.
    pub correlation_id: &'a str,
    /// Where the client is; masked to its /24 or /48 unless the settings say otherwise.
    pub source: Option<IpAddr>,
}

/// Writes records; keeps the day's text between them.
pub(super) struct Formatter {
    pub full_source: bool,
    /// Days since 1970 and `yyyy-mm-ddT` of that day.
    day: Option<(u64, String)>,
}

impl Formatter {
    pub fn new(full_source: bool) -> Self {
        Self { full_source, day: None }
    }

    /// Appends the line of `r`, its newline included.
    pub fn write(&mut self, out: &mut Vec<u8>, r: &Record<'_>, now: Timestamp) {
        out.extend_from_slice(b"{\"target\":\"access\",\"time\":\"");
        self.time(out, now);
        out.push(b'"');
        text(out, "kind", r.kind.as_str());
        number(out, "connection", r.connection);
        text(out, "customer", r.customer);
        optional(out, "user", r.user);
        optional(out, "line", r.line);
        number(out, "listener_port", u64::from(r.listener_port));
        optional(out, "upstream", r.upstream);
        optional(out, "country", r.country);
        number(out, "ingress_bytes", r.ingress_bytes);
        number(out, "egress_bytes", r.egress_bytes);
        for (name, ms) in [("connect_ms", r.connect_ms), ("first_byte_ms", r.first_byte_ms)] {
            if let Some(ms) = ms {
                number(out, name, ms);
            }
        }
        number(out, "duration_ms", r.duration_ms);
        text(out, "reason", r.reason);
        text(out, "correlation_id", r.correlation_id);
        if let Some(source) = r.source {
            self.source(out, source);
        }
        out.extend_from_slice(b"}\n");
    }

    /// RFC 3339, milliseconds, UTC.
    fn time(&mut self, out: &mut Vec<u8>, now: Timestamp) {
        let number = now.as_secs() / 86_400;
        let (_, day) = match &mut self.day {
            Some(day) if day.0 == number => day,
            day => day.insert((number, format!("{}T", now.day()))),
        };
        out.extend_from_slice(day.as_bytes());
        let (s, ms) = (now.as_secs() % 86_400, now.as_millis() % 1000);
        two(out, s / 3600);
        out.push(b':');
        two(out, s / 60 % 60);
        out.push(b':');
        two(out, s % 60);
        out.push(b'.');
        out.push(digit(ms / 100));
        two(out, ms % 100);
        out.push(b'Z');
    }

    fn source(&self, out: &mut Vec<u8>, source: IpAddr) {
        use std::io::Write as _;
        name(out, "source");
        out.push(b'"');
        // Writing to a vector cannot fail.
        let _ = match (source.to_canonical(), self.full_source) {
            (ip, true) => write!(out, "{ip}"),
            (IpAddr::V4(v4), false) => {
                let [a, b, c, _] = v4.octets();
                write!(out, "{a}.{b}.{c}.0/24")
            }
            (IpAddr::V6(v6), false) => {
                let [a, b, c, ..] = v6.segments();
                write!(out, "{a:x}:{b:x}:{c:x}::/48")
            }
        };
        out.push(b'"');
    }
}

fn digit(n: u64) -> u8 {
    b'0' + u8::try_from(n % 10).unwrap_or(0)
}

fn two(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(&[digit(n / 10), digit(n)]);
}

fn name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn number(out: &mut Vec<u8>, field: &str, n: u64) {
    name(out, field);
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

fn optional(out: &mut Vec<u8>, field: &str, value: Option<&str>) {
    if let Some(value) = value {
        text(out, field, value);
    }
}

/// RFC 8259, section 7. Runs that need no escape are copied whole. DEL and what Unicode counts as a line
/// separator are escaped too, so that a line of the log is one line everywhere.
fn text(out: &mut Vec<u8>, field: &str, value: &str) {
    name(out, field);
    out.push(b'"');
    let value = &value[..value.floor_char_boundary(MAX_TEXT)];
    let mut plain = 0;
    for (at, c) in value.char_indices() {
        if !matches!(c, '"' | '\\' | '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}') {
            continue;
        }
        out.extend_from_slice(&value.as_bytes()[plain..at]);
        plain = at + c.len_utf8();
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            c => {
                let nibble = |shift: u32| HEX[(u32::from(c) >> shift & 15) as usize];
                out.extend_from_slice(&[b'\\', b'u', nibble(12), nibble(8), nibble(4), nibble(0)]);
            }
        }
    }
    out.extend_from_slice(&value.as_bytes()[plain..]);
    out.push(b'"');
}
