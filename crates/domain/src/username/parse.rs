//! Reading user names.

use std::borrow::Cow;

use super::{LIFE_MAX_MIN, MAX_LEN, Session, UserSpec, invalid};
use crate::country::Country;
use crate::id::{LineLabel, UserName};
use crate::proxy::ProxyClass;
use crate::refusal::{Code, Refusal};

/// The keys, as told to whoever used another.
pub(super) const KEYS: &str = "line, session, country, life, type";

/// What a user name asks for. Keys come in any order, each at most once.
///
/// # Errors
/// `USERNAME_INVALID` with the allowed keys if the name is over 255 bytes, a key is unknown,
/// repeated or without a value, a value breaks its rule, or line and session come together;
/// `COUNTRY_UNKNOWN`.
pub fn parse(s: &str) -> Result<UserSpec, Refusal> {
    if s.len() > MAX_LEN {
        return Err(invalid(format_args!("user name has {} bytes, at most {MAX_LEN} are allowed", s.len())));
    }
    let (name, mut rest) = s.split_once('-').map_or((s, None), |(name, rest)| (name, Some(rest)));
    let name = UserName::new(name).map_err(invalid)?;
    let mut spec = UserSpec::of(name);
    while let Some(pairs) = rest {
        let (key, values) = pairs.split_once('-').unwrap_or((pairs, ""));
        let (value, after) = match key {
            "line" | "session" => take_label(values),
            _ => take(values),
        };
        spec.set(key, &value)?;
        rest = after;
    }
    if spec.line.is_some() && spec.session.is_some() {
        return Err(invalid("line and session exclude each other"));
    }
    Ok(spec)
}

impl UserSpec {
    fn set(&mut self, key: &str, value: &str) -> Result<(), Refusal> {
        match key {
            "line" => once(&mut self.line, key, line(value)?),
            "session" => once(&mut self.session, key, Session::new(value).map_err(invalid)?),
            "country" => once(&mut self.country, key, country(value)?),
            "life" => once(&mut self.life_min, key, life(value)?),
            "type" => once(&mut self.class, key, class(value)?),
            _ => Err(invalid(format_args!("unknown key {:?}", brief(key)))),
        }
    }
}

fn once<T>(slot: &mut Option<T>, key: &str, value: T) -> Result<(), Refusal> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(invalid(format_args!("{key} is given twice"))),
    }
}

fn line(value: &str) -> Result<LineLabel, Refusal> {
    let label = LineLabel::new(value).map_err(invalid)?;
    if Session::reserves(&label) {
        return Err(invalid("lines that begin with \"session.\" are asked for by the key session"));
    }
    Ok(label)
}

fn country(value: &str) -> Result<Country, Refusal> {
    Country::parse(value)
        .ok_or_else(|| Refusal::new(Code::CountryUnknown, format!("no country has the code {:?}", brief(value))))
}

fn life(value: &str) -> Result<u32, Refusal> {
    let digits = (1..=4).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
    let minutes = if digits { value.parse().unwrap_or(0) } else { 0 };
    if (1..=LIFE_MAX_MIN).contains(&minutes) {
        Ok(minutes)
    } else {
        Err(invalid(format_args!("life must be 1 to {LIFE_MAX_MIN} minutes")))
    }
}

fn class(value: &str) -> Result<ProxyClass, Refusal> {
    ProxyClass::parse(value).ok_or_else(|| invalid("type must be isp, datacenter, residential or mobile"))
}

/// The next value, and what follows its hyphen.
fn take(s: &str) -> (Cow<'_, str>, Option<&str>) {
    match s.split_once('-') {
        Some((value, after)) => (Cow::Borrowed(value), Some(after)),
        None => (Cow::Borrowed(s), None),
    }
}

/// As [`take`], but a UUID is one value, written without its hyphens. No key is made of
/// hexadecimal digits alone, so nothing else is mistaken for one.
fn take_label(s: &str) -> (Cow<'_, str>, Option<&str>) {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    const UUID: usize = 36;
    let mut groups = s.get(..UUID).unwrap_or_default().split('-');
    let uuid = GROUPS.iter().all(|n| groups.next().is_some_and(|g| g.len() == *n && is_hex(g)));
    match s.as_bytes().get(UUID) {
        None if uuid => (Cow::Owned(s.replace('-', "")), None),
        Some(b'-') if uuid => (Cow::Owned(s[..UUID].replace('-', "")), Some(&s[UUID + 1..])),
        _ => take(s),
    }
}

fn is_hex(s: &str) -> bool {
    s.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Enough of a stranger's text to recognise it by.
fn brief(s: &str) -> &str {
    &s[..s.floor_char_boundary(24)]
}
