//! One line of the upstream file.

use std::net::{Ipv4Addr, Ipv6Addr};

use secrecy::SecretString;
use tollgate_domain::country::Country;
use tollgate_domain::id::{CustomerId, ProviderId, ProxyId};
use tollgate_domain::upstream::Scheme;

use crate::upstream::spec::Upstream;
use crate::upstreams::row::Row;

/// Longest user name and password: what SOCKS5 can carry (RFC 1929).
const MAX_CREDENTIAL: usize = 255;
/// Longest label a line may give its upstream.
const MAX_LABEL: usize = 48;
/// Longest host name (RFC 1035).
const MAX_HOST: usize = 253;

/// Why a line is not taken. Nothing of the line is in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub code: &'static str,
    pub why: &'static str,
}

const FORM: Fault = Fault {
    code: "FORM_UNKNOWN",
    why: "expected user:password@ip:port, ip:port:user:password, ip:port, <scheme>://user:password@host:port or direct",
};
const SCHEME: Fault = Fault { code: "SCHEME_UNKNOWN", why: "schemes are http, https, socks5 and socks5h" };
const HOST: Fault =
    Fault { code: "HOST_INVALID", why: "the host is neither an address (IPv6 in brackets) nor a host name" };
const PORT: Fault = Fault { code: "PORT_INVALID", why: "the port is not a number from 1 to 65535" };
const CREDENTIALS: Fault = Fault {
    code: "CREDENTIALS_INVALID",
    why: "user and password have at most 255 bytes and no control characters, the user at least one and no colon; in a \
          URL they are percent-encoded",
};
const ATTRIBUTE: Fault = Fault {
    code: "ATTRIBUTE_INVALID",
    why: "attributes are owner=<customer>, country=<ISO 3166 code>, name=<label> and pool=<label>, each once; a label has \
          up to 48 of A-Z a-z 0-9 _ . -",
};

/// The row that a line says; `None` where it says nothing.
pub(super) fn parse(text: &str, provider: &ProviderId) -> Result<Option<Row>, Fault> {
    let mut words = text.split_ascii_whitespace().take_while(|w| !w.starts_with('#'));
    let Some(address) = words.next() else { return Ok(None) };
    let (scheme, host, port, credentials) = address_of(address)?;
    let (mut owner, mut country, mut name, mut pool) = (None, None, None, None);
    for word in words {
        let (key, value) = word.split_once('=').ok_or(ATTRIBUTE)?;
        let fresh = match key {
            "owner" => owner.replace(CustomerId::new(value).map_err(|_| ATTRIBUTE)?).is_none(),
            "country" => country.replace(Country::parse(value).ok_or(ATTRIBUTE)?).is_none(),
            "name" => name.replace(label(value)?).is_none(),
            "pool" => pool.replace(label(value)?).is_none(),
            _ => false,
        };
        if !fresh {
            return Err(ATTRIBUTE);
        }
    }
    // The row makes the id.
    let id = ProxyId { provider: provider.clone(), ip: String::new() };
    let upstream = Upstream { id, scheme, host, port, credentials, owner, country, pool };
    Ok(Some(Row::new(provider, name, upstream)))
}

fn label(s: &str) -> Result<String, Fault> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let good = (1..=MAX_LABEL).contains(&s.len()) && s.bytes().all(plain);
    good.then(|| s.to_owned()).ok_or(ATTRIBUTE)
}

type Address = (Scheme, String, u16, Option<(String, SecretString)>);

fn address_of(word: &str) -> Result<Address, Fault> {
    if word == "direct" {
        return Ok((Scheme::Direct, String::new(), 0, None));
    }
    if let Some((scheme, rest)) = word.split_once("://")
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric())
    {
        let scheme = Scheme::parse(&scheme.to_ascii_lowercase()).filter(|s| *s != Scheme::Direct).ok_or(SCHEME)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, place) = match rest.rsplit_once('@') {
            None => (None, rest),
            Some((user_info, place)) => {
                let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
                (Some(credentials(decode(user)?, decode(password)?)?), place)
            }
        };
        let (host, port) = host_and_port(place)?;
        return Ok((scheme, host, port, credentials));
    }
    // A password may hold an @ or a colon: the part after the last @ must be a place.
    if let Some((user_info, place)) = word.rsplit_once('@') {
        match host_and_port(place) {
            Ok((host, port)) => {
                let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
                let credentials = credentials(user.to_owned(), password.to_owned())?;
                return Ok((Scheme::Http, host, port, Some(credentials)));
            }
            Err(fault) => return colons(word).map_err(|_| fault),
        }
    }
    colons(word)
}

/// `host:port` or `host:port:user:password`.
fn colons(word: &str) -> Result<Address, Fault> {
    let host_end = match word.strip_prefix('[') {
        Some(v6) => v6.find(']').ok_or(HOST)? + 2,
        None => word.find(':').ok_or(FORM)?,
    };
    let after = word[host_end..].strip_prefix(':').ok_or(FORM)?;
    let (port, account) = match after.split_once(':') {
        None => (after, None),
        Some((port, account)) => (port, Some(account)),
    };
    let (host, port) = (host(&word[..host_end])?, number(port)?);
    let credentials = match account {
        None => None,
        Some(account) => {
            let (user, password) = account.split_once(':').ok_or(FORM)?;
            Some(credentials(user.to_owned(), password.to_owned())?)
        }
    };
    Ok((Scheme::Http, host, port, credentials))
}

fn host_and_port(place: &str) -> Result<(String, u16), Fault> {
    let (name, port) = place.rsplit_once(':').ok_or(PORT)?;
    Ok((host(name)?, number(port)?))
}

/// An address in its canonical spelling, or a host name in lower case.
fn host(s: &str) -> Result<String, Fault> {
    if let Some(v6) = s.strip_prefix('[').and_then(|s| s.strip_suffix(']')) {
        return v6.parse::<Ipv6Addr>().map(|a| a.to_string()).map_err(|_| HOST);
    }
    if let Ok(v4) = s.parse::<Ipv4Addr>() {
        return Ok(v4.to_string());
    }
    let label =
        |l: &str| (1..=63).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    // A last label that is a number makes an address in an odd form (`127.1`, `0x7f.1`): resolvers guess.
    let odd = s.rsplit('.').next().is_none_or(is_number);
    if s.len() > MAX_HOST || odd || !s.split('.').all(label) {
        return Err(HOST);
    }
    Ok(s.to_ascii_lowercase())
}

fn is_number(label: &str) -> bool {
    match label.strip_prefix("0x").or_else(|| label.strip_prefix("0X")) {
        Some(hex) => hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => label.bytes().all(|b| b.is_ascii_digit()),
    }
}

fn number(s: &str) -> Result<u16, Fault> {
    let digits = (1..=5).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
    s.parse().ok().filter(|n| digits && *n > 0).ok_or(PORT)
}

fn credentials(user: String, password: String) -> Result<(String, SecretString), Fault> {
    let fits = |s: &str| s.len() <= MAX_CREDENTIAL && !s.chars().any(char::is_control);
    // Basic cannot carry a colon in the user (RFC 7617 section 2).
    if user.is_empty() || user.contains(':') || !fits(&user) || !fits(&password) {
        return Err(CREDENTIALS);
    }
    Ok((user, password.into()))
}

/// Percent-decoding (RFC 3986 section 2.1), strictly.
fn decode(s: &str) -> Result<String, Fault> {
    let mut out = Vec::with_capacity(s.len());
    let mut rest = s.as_bytes();
    while let Some((&b, tail)) = rest.split_first() {
        rest = tail;
        if b != b'%' {
            out.push(b);
            continue;
        }
        let mut byte = [0];
        let digits = rest.get(..2).ok_or(CREDENTIALS)?;
        hex::decode_to_slice(digits, &mut byte).map_err(|_| CREDENTIALS)?;
        out.push(byte[0]);
        rest = &rest[2..];
    }
    String::from_utf8(out).map_err(|_| CREDENTIALS)
}
