//! Who asks and which exit serves: the user-name grammar, and the choice of an address.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::refusal::{self, ProxyError};
use crate::exits::Exit;
use crate::lock;
use crate::shared::Shared;
use crate::zone::Zone;

/// Flags with a value. ISP and datacenter zones honour the first four; the others are read and
/// have no effect.
const VALUED: [&str; 13] =
    ["ip", "country", "session", "c_tag", "dns", "state", "city", "zip", "asn", "os", "carrier", "gip", "route_err"];

/// Sessions remembered; beyond that all are forgotten.
const MAX_SESSIONS: usize = 100_000;

/// A user name, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct User<'a> {
    customer: &'a str,
    zone: Option<&'a str>,
    ip: Option<&'a str>,
    country: Option<&'a str>,
    session: Option<&'a str>,
}

impl<'a> User<'a> {
    fn parse(name: &'a str) -> Result<Self, ProxyError> {
        let rest = name.strip_prefix("brd-customer-").ok_or(refusal::BAD_PASSWORD)?;
        let (customer, rest) = rest.split_once('-').unwrap_or((rest, ""));
        let Some(rest) = rest.strip_prefix("zone-") else {
            return Ok(Self { customer, ..Self::default() });
        };
        let mut parts = rest.split('-');
        let mut user = Self { customer, zone: parts.next().filter(|z| !z.is_empty()), ..Self::default() };
        while let Some(key) = parts.next() {
            let value = match key {
                "const" | "direct" => continue,
                _ if VALUED.contains(&key) => parts.next().unwrap_or_default(),
                _ => return Err(refusal::BAD_USER),
            };
            let slot = match key {
                "ip" => &mut user.ip,
                "country" => &mut user.country,
                "session" => &mut user.session,
                _ => continue,
            };
            if slot.replace(value).is_some() || (value.is_empty() && key != "ip") {
                return Err(refusal::BAD_USER);
            }
        }
        if user.session.is_some_and(|s| !s.bytes().all(|b| b.is_ascii_alphanumeric())) {
            return Err(refusal::BAD_USER);
        }
        Ok(user)
    }
}

/// Which address a session name got first.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    exits: Mutex<HashMap<String, Ipv4Addr>>,
    turn: Mutex<usize>,
}

impl Sessions {
    /// The session's address as long as it is among `candidates`, else a new one in turn.
    fn choose(&self, session: Option<&str>, candidates: &[Ipv4Addr]) -> Option<Ipv4Addr> {
        let mut exits = lock(&self.exits);
        if let Some(ip) = session.and_then(|s| exits.get(s))
            && candidates.contains(ip)
        {
            return Some(*ip);
        }
        let mut turn = lock(&self.turn);
        let ip = *candidates.get(turn.checked_rem(candidates.len())?)?;
        *turn = turn.wrapping_add(1);
        if let Some(session) = session {
            if exits.len() >= MAX_SESSIONS {
                exits.clear();
            }
            exits.insert(session.to_owned(), ip);
        }
        Some(ip)
    }
}

/// A request that may go on.
#[derive(Debug)]
pub(super) struct Access {
    /// The full user name, as byte counters know it.
    pub(super) user: String,
    pub(super) exit: Exit,
}

/// Checks the value of `Proxy-Authorization` and chooses the exit.
pub(super) fn authenticate(shared: &Shared, header: Option<&[u8]>) -> Result<Access, ProxyError> {
    let header = header.ok_or(refusal::NO_CREDENTIALS)?;
    let (name, password) = basic(header).ok_or(refusal::BAD_PASSWORD)?;
    let user = User::parse(&name)?;
    if user.customer != shared.config.account {
        return Err(refusal::BAD_PASSWORD);
    }
    if user.zone != Some(shared.config.zone.as_str()) {
        return Err(refusal::NO_ZONE);
    }
    if !shared.is_zone_password(&password) {
        return Err(refusal::BAD_PASSWORD);
    }
    if let Some(forced) = shared.gateway.refusal() {
        return Err(forced);
    }
    let exit = shared.read(|zone| choose(zone, &shared.sessions, &user))?;
    Ok(Access { user: name, exit })
}

fn basic(header: &[u8]) -> Option<(String, String)> {
    let (scheme, value) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

fn choose(zone: &Zone, sessions: &Sessions, user: &User<'_>) -> Result<Exit, ProxyError> {
    let ip = match user.ip {
        Some(text) => {
            let ip: Ipv4Addr = text.parse().map_err(|_| refusal::BAD_IP)?;
            if !zone.holds(ip) {
                return Err(refusal::IP_NOT_ALLOCATED);
            }
            ip
        }
        None => {
            let none = if user.country.is_some() { refusal::NO_IP_IN_COUNTRY } else { refusal::NO_PEER };
            sessions.choose(user.session, &zone.held_in(user.country)).ok_or(none)?
        }
    };
    let country = zone.country_of(ip).unwrap_or_default().to_owned();
    if user.country.is_some_and(|c| c != country) {
        return Err(refusal::NO_IP_IN_COUNTRY);
    }
    Ok(Exit { ip, country })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_user_names_parse() {
        let user = User::parse(
            "brd-customer-hl_1a2b3c4d-zone-isp_main-ip-203.0.113.7-country-nl-session-abc123-dns-remote-route_err-block-const",
        );
        let expected = User {
            customer: "hl_1a2b3c4d",
            zone: Some("isp_main"),
            ip: Some("203.0.113.7"),
            country: Some("nl"),
            session: Some("abc123"),
        };
        assert_eq!(user, Ok(expected));
        assert_eq!(User::parse("brd-customer-c_1").map(|u| u.zone), Ok(None));
        assert_eq!(User::parse("brd-customer-c_1-zone-").map(|u| u.zone), Ok(None));
    }

    #[test]
    fn other_user_names_are_refused_with_the_catalogues_code() {
        for (name, error) in [
            ("bob", refusal::BAD_PASSWORD),
            ("brd-customer-c-zone-z-colour-red", refusal::BAD_USER),
            ("brd-customer-c-zone-z-session-a*b", refusal::BAD_USER),
            ("brd-customer-c-zone-z-session-", refusal::BAD_USER),
            ("brd-customer-c-zone-z-country", refusal::BAD_USER),
            ("brd-customer-c-zone-z-ip-1.1.1.1-ip-1.1.1.1", refusal::BAD_USER),
        ] {
            assert_eq!(User::parse(name), Err(error), "{name}");
        }
    }

    #[test]
    fn a_session_keeps_its_address_while_the_zone_holds_it() {
        let sessions = Sessions::default();
        let [a, b] = [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2)];
        assert_eq!(sessions.choose(Some("s"), &[a, b]), Some(a));
        assert_eq!(sessions.choose(None, &[a, b]), Some(b));
        assert_eq!(sessions.choose(None, &[a, b]), Some(a));
        assert_eq!(sessions.choose(Some("s"), &[a, b]), Some(a));
        assert_eq!(sessions.choose(Some("s"), &[b]), Some(b));
        assert_eq!(sessions.choose(Some("s"), &[]), None);
    }
}
