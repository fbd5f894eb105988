//! The upstream file: one upstream a line, as lists of bought proxies come.
//!
//! | form | speaks |
//! |---|---|
//! | `ip:port`, `ip:port:user:password`, `user:password@ip:port` | HTTP |
//! | `http://`, `https://`, `socks5://`, `socks5h://` + `[user:password@]host:port` | as named; credentials percent-encoded |
//! | `direct` | nothing: the edge dials targets itself |
//!
//! Host names are as good as addresses; IPv6 is written in brackets. After white space may follow
//! `owner=<customer>`, `country=<code>`, `name=<label>`, `pool=<label>`. A word that begins with `#` starts a comment.

mod known;
mod line;

use std::collections::HashMap;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use tollgate_domain::id::ProviderId;

use super::row::{Identity, Row};
use crate::upstream::spec::Upstream;
pub(crate) use known::Known;

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
#[cfg(test)]
pub(crate) fn parse(bytes: &[u8], provider: &ProviderId) -> Parsed {
    parse_again(bytes, provider, &mut Known::default())
}

/// The same; lines that `known` has from the last time cost a look-up each.
pub(crate) fn parse_again(bytes: &[u8], provider: &ProviderId, known: &mut Known) -> Parsed {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // The end of the last line begins no other.
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut problems = Vec::new();
    let mut found: Vec<(usize, Row)> = Vec::new();
    known.begin();
    for (at, raw) in bytes.split(|b| *b == b'\n').enumerate() {
        let number = at + 1;
        let mut problem = |code, why| problems.push(LineProblem { line: number, code, why });
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
        match known.row(text, provider) {
            Ok(None) => {}
            Ok(Some(row)) => found.push((number, row)),
            Err(fault) => problem(fault.code, fault.why.to_owned()),
        }
    }
    known.end();
    let rows = without_doubles(found, &mut problems);
    problems.sort_by_key(|p| p.line);
    Parsed { rows, problems }
}

/// The rows that are the first of their upstream and of their name; the others are reported.
fn without_doubles(found: Vec<(usize, Row)>, problems: &mut Vec<LineProblem>) -> Vec<Row> {
    let mut identities: HashMap<Identity, usize> = HashMap::with_capacity(found.len());
    let mut names: HashMap<Name, usize> = HashMap::with_capacity(found.len());
    let mut rows = Vec::with_capacity(found.len());
    for (line, row) in found {
        let mut problem = |code, why| problems.push(LineProblem { line, code, why });
        let name = Name(Arc::clone(&row.upstream));
        if let Some(first) = identities.get(&row.identity) {
            problem("DUPLICATE", format!("the same upstream as in line {first}"));
        } else if let Some(first) = names.get(&name) {
            problem("NAME_TAKEN", format!("line {first} has this name"));
        } else {
            identities.insert(row.identity.clone(), line);
            names.insert(name, line);
            rows.push(row);
        }
    }
    rows
}

/// The name that a row has: all are of one provider.
struct Name(Arc<Upstream>);

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.0.id.ip == other.0.id.ip
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.ip.hash(state);
    }
}

#[cfg(test)]
mod tests;
