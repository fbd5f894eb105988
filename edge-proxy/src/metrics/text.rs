//! Prometheus' text format, version 0.0.4.

use std::fmt::{Display, Write as _};

/// What the name of every family begins with.
const PREFIX: &str = "tollgate_edge_";

/// A page being written, family by family.
#[derive(Default)]
pub(super) struct Text(String);

impl Text {
    /// Begins a family that only grows. Its name ends in `_total`; `help` is one line without
    /// backslashes.
    pub fn counter(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family("counter", name, help)
    }

    /// Begins a family that goes up and down. `help` is one line without backslashes.
    pub fn gauge(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family("gauge", name, help)
    }

    fn family(&mut self, kind: &str, name: &str, help: &str) -> Family<'_> {
        let name = format!("{PREFIX}{name}");
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { out: &mut self.0, name }
    }

    /// The page.
    pub fn finish(self) -> String {
        self.0
    }
}

/// One family; its samples follow.
pub(super) struct Family<'a> {
    out: &'a mut String,
    name: String,
}

impl Family<'_> {
    /// Its only sample.
    pub fn is(&mut self, value: impl Display) {
        self.of(&[], value);
    }

    /// One of its samples. No two may have the same labels.
    pub fn of(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.out.push_str(&self.name);
        for (n, (label, text)) in labels.iter().enumerate() {
            self.out.push_str(if n == 0 { "{" } else { "," });
            let _ = write!(self.out, "{label}=\"{}\"", Escaped(text));
        }
        let _ = writeln!(self.out, "{} {value}", if labels.is_empty() { "" } else { "}" });
        self
    }
}

/// The text of a label.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_families_with_their_samples() {
        let mut text = Text::default();
        text.counter("bytes_total", "Bytes.").of(&[("a", "x"), ("b", "y")], 1u64).of(&[("a", "z"), ("b", "y")], 2u64);
        text.gauge("lag_seconds", "Lag.").is(0.25);
        text.gauge("age_seconds", "Age.");
        let page = "# HELP tollgate_edge_bytes_total Bytes.\n# TYPE tollgate_edge_bytes_total counter\n\
                    tollgate_edge_bytes_total{a=\"x\",b=\"y\"} 1\ntollgate_edge_bytes_total{a=\"z\",b=\"y\"} 2\n\
                    # HELP tollgate_edge_lag_seconds Lag.\n# TYPE tollgate_edge_lag_seconds gauge\n\
                    tollgate_edge_lag_seconds 0.25\n\
                    # HELP tollgate_edge_age_seconds Age.\n# TYPE tollgate_edge_age_seconds gauge\n";
        assert_eq!(text.finish(), page);
    }

    #[test]
    fn no_text_of_a_label_ends_it() {
        let mut text = Text::default();
        text.counter("n_total", "N.").of(&[("a", "q\" b\\ l\n{},=")], 1u64);
        let page = text.finish();
        assert_eq!(page.lines().last(), Some(r#"tollgate_edge_n_total{a="q\" b\\ l\n{},="} 1"#));
    }
}
