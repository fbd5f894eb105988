//! Prometheus' text format (0.0.4), read strictly: what scrapers forgive is refused here.

use std::collections::BTreeMap;

const PREFIX: &str = "tollgate_edge_";

/// The labels of one sample.
pub type Labels = BTreeMap<String, String>;

/// What belongs to one name.
#[derive(Debug)]
pub struct Family {
    pub kind: String,
    pub help: String,
    pub samples: BTreeMap<Labels, f64>,
}

/// A page, by the families' names without our prefix.
#[derive(Debug)]
pub struct Exposition(BTreeMap<String, Family>);

impl Exposition {
    /// Reads a page; what is wrong with it otherwise.
    pub fn parse(page: &str) -> Result<Self, String> {
        let mut families = BTreeMap::<String, Family>::new();
        let mut last = String::new();
        need(page.ends_with('\n') && !page.contains('\r'), "not every line ends in a line feed", "")?;
        let mut lines = page.lines();
        while let Some(line) = lines.next() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').ok_or(format!("no help: {line}"))?;
                let kind = lines.next().and_then(|l| l.strip_prefix(&format!("# TYPE {name} ")));
                let kind = kind.ok_or(format!("no type after {line}"))?;
                need(matches!(kind, "counter" | "gauge"), "an unknown type", kind)?;
                need(name.ends_with("_total") == (kind == "counter"), "the name contradicts the type", line)?;
                let odd = ["_ms", "_us", "_ns", "_milliseconds", "_minutes", "_kb", "_mb", "_kib", "_mib", "_percent"];
                need(!odd.iter().any(|unit| name.trim_end_matches("_total").ends_with(unit)), "no base unit", line)?;
                need(!help.is_empty() && !help.contains('\\'), "no plain help", line)?;
                last = name.to_owned();
                let name =
                    name.strip_prefix(PREFIX).filter(|n| is_name(n)).ok_or(format!("no name of ours: {line}"))?;
                let family = Family { kind: kind.into(), help: help.into(), samples: BTreeMap::new() };
                need(families.insert(name.into(), family).is_none(), "a family is there twice", line)?;
                continue;
            }
            let (name, labels, value) = sample(line)?;
            need(name == last, "a sample is not with its family", line)?;
            let family = last
                .get(PREFIX.len()..)
                .and_then(|n| families.get_mut(n))
                .ok_or(format!("a sample without a family: {line}"))?;
            let alike = family.samples.keys().all(|other| other.keys().eq(labels.keys()));
            need(alike, "samples of a family have different labels", line)?;
            need(family.samples.insert(labels, value).is_none(), "a series is there twice", line)?;
        }
        Ok(Self(families))
    }

    /// All families.
    pub fn families(&self) -> impl Iterator<Item = (String, &Family)> {
        self.0.iter().map(|(name, family)| (format!("{PREFIX}{name}"), family))
    }

    pub fn family(&self, name: &str) -> &Family {
        self.0.get(name).unwrap_or_else(|| panic!("no family {name}"))
    }

    /// The sample with exactly these labels; none if the family has none.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels: Labels = labels.iter().map(|(l, t)| ((*l).to_owned(), (*t).to_owned())).collect();
        self.family(name).samples.get(&labels).copied()
    }

    /// The same where it must be there.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.get(name, labels).unwrap_or_else(|| panic!("no {name} {labels:?} in {self:?}"))
    }
}

fn need(holds: bool, what: &str, line: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{what}: {line}")) }
}

fn is_name(s: &str) -> bool {
    !s.is_empty() && s.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// Name, labels and value of a line that holds nothing else.
fn sample(line: &str) -> Result<(&str, Labels, f64), String> {
    let end = line.find(['{', ' ']).ok_or(format!("no value: {line}"))?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").ok_or(format!("no label: {line}"))?;
            need(is_name(label) && !label.starts_with("__"), "no name of a label", line)?;
            let (text, after) = quoted(after)?;
            need(labels.insert(label.to_owned(), text).is_none(), "a label is there twice", line)?;
            let more = after.strip_prefix(',');
            rest = more.or_else(|| after.strip_prefix('}')).ok_or(format!("labels do not end: {line}"))?;
            if more.is_none() {
                break;
            }
        }
    }
    let value = rest.strip_prefix(' ').ok_or(format!("no value: {line}"))?;
    need(value.bytes().all(|b| b.is_ascii_digit() || b == b'.'), "no plain number", line)?;
    Ok((name, labels, value.parse::<f64>().map_err(|e| format!("{e}: {line}"))?))
}

/// The text up to its closing quote, and what is after that.
fn quoted(s: &str) -> Result<(String, &str), String> {
    let mut text = String::new();
    let mut chars = s.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((text, &s[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, c @ ('\\' | '"'))) => text.push(c),
                _ => return Err(format!("an escape that is none: {s}")),
            },
            c => text.push(c),
        }
    }
    Err(format!("a text does not end: {s}"))
}

#[test]
fn only_what_the_format_allows_is_read() {
    let family = "# HELP tollgate_edge_x_total X.\n# TYPE tollgate_edge_x_total counter\n";
    let page = format!("{family}tollgate_edge_x_total{{a=\"q\\\" b\\\\ l\\n,}}\",b=\"\"}} 1.5\n");
    let read = Exposition::parse(&page).unwrap();
    assert_eq!(read.value("x_total", &[("a", "q\" b\\ l\n,}"), ("b", "")]), 1.5);
    assert_eq!((read.family("x_total").kind.as_str(), read.family("x_total").help.as_str()), ("counter", "X."));
    for bad in [
        "tollgate_edge_x_total 1",
        "tollgate_edge_x_total 1\r\n",
        "tollgate_edge_x_total 1\n\n",
        "tollgate_edge_x_total 1\ntollgate_edge_x_total 1\n",
        "tollgate_edge_x_total{a=\"1\",a=\"2\"} 1\n",
        "tollgate_edge_x_total{a=\"1\"} 1\ntollgate_edge_x_total 1\n",
        "tollgate_edge_x_total{a=\"1\",} 1\n",
        "tollgate_edge_x_total{a=\"1} 1\n",
        "tollgate_edge_x_total{a=\"\\t\"} 1\n",
        "tollgate_edge_x_total{a-b=\"1\"} 1\n",
        "tollgate_edge_x_total NaN\n",
        "tollgate_edge_x_total -1\n",
        "tollgate_edge_x_total  1\n",
        "tollgate_edge_x_total 1 1709208000\n",
        "tollgate_edge_y_total 1\n",
        "# TYPE tollgate_edge_y_total counter\n",
        "# HELP tollgate_edge_y_total Y.\ntollgate_edge_y_total 1\n",
        "# HELP tollgate_edge_y Y.\n# TYPE tollgate_edge_y counter\n",
        "# HELP tollgate_edge_y_ms Y.\n# TYPE tollgate_edge_y_ms gauge\n",
        "# HELP tollgate_edge_x_total X.\n# TYPE tollgate_edge_x_total counter\n",
    ] {
        assert!(Exposition::parse(&format!("{family}{bad}")).is_err(), "{bad:?}");
    }
}
