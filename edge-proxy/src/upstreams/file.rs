//! The upstream file: one upstream a line, as lists of bought proxies come.
//!
//! | form | speaks |
//! |---|---|
//! | `ip:port`, `ip:port:user:password`, `user:password@ip:port` | HTTP |
//! | `http://`, `https://`, `socks5://`, `socks5h://` + `[user:password@]host:port` | as named; credentials percent-encoded |
//! | `direct` | nothing: the edge dials targets itself |
//!
//! Host names are as good as addresses; IPv6 is written in brackets. After white space may follow
//! `owner=<customer>`, `country=<code>`, `name=<label>`. A word that begins with `#` starts a comment.

mod line;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use tollgate_domain::id::ProviderId;

use super::row::{Identity, Row};

/// Longest line, in bytes.
pub(crate) const MAX_LINE: usize = 1024;
/// Lines read; what follows is reported once.
pub(crate) const MAX_LINES: usize = 100_000;

/// A line that was not taken. Nothing of the line is repeated here: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineProblem {
    /// Counted from 1.
    pub line: usize,
    /// Stable, for programs.
    pub code: &'static str,
    /// For people.
    pub why: String,
}

/// What a file says.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    /// In the file's order; no two are the same upstream, no two have the same name.
    pub rows: Vec<Row>,
    pub problems: Vec<LineProblem>,
}

/// Reads a file, up to the most that could be used of it.
///
/// # Errors
/// What the system says.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let most = MAX_LINES * (MAX_LINE + 2) + 1;
    let mut bytes = Vec::new();
    File::open(path)?.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Understands a file; bad lines are reported and left out. `provider` names whose rows they are.
pub(crate) fn parse(bytes: &[u8], provider: &ProviderId) -> Parsed {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // The end of the last line begins no other.
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut parsed = Parsed::default();
    let mut identities: HashMap<Identity, usize> = HashMap::new();
    let mut names: HashMap<String, usize> = HashMap::new();
    for (at, raw) in bytes.split(|b| *b == b'\n').enumerate() {
        let number = at + 1;
        let mut problem = |code, why| parsed.problems.push(LineProblem { line: number, code, why });
        if number > MAX_LINES {
            problem("TOO_MANY_LINES", format!("only {MAX_LINES} lines are read"));
            break;
        }
        let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
        if raw.len() > MAX_LINE {
            problem("LINE_TOO_LONG", format!("a line has at most {MAX_LINE} bytes"));
            continue;
        }
        let Ok(text) = std::str::from_utf8(raw) else {
            problem("NOT_TEXT", "the line is not UTF-8".to_owned());
            continue;
        };
        let row = match line::parse(text, provider) {
            Ok(None) => continue,
            Ok(Some(row)) => row,
            Err(fault) => {
                problem(fault.code, fault.why.to_owned());
                continue;
            }
        };
        if let Some(first) = identities.get(&row.identity) {
            problem("DUPLICATE", format!("the same upstream as in line {first}"));
        } else if let Some(first) = names.get(&row.upstream.id.ip) {
            problem("NAME_TAKEN", format!("line {first} has this name"));
        } else {
            identities.insert(row.identity.clone(), number);
            names.insert(row.upstream.id.ip.clone(), number);
            parsed.rows.push(row);
        }
    }
    parsed
}

#[cfg(test)]
mod tests;
