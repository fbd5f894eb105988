//! Dial failures, by provider and code. Providers come and go; the figures of them are bounded.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use tollgate_domain::refusal::Code;

/// Providers with figures of their own; those first seen later share [`OTHER`].
const MAX_PROVIDERS: usize = 64;
/// Stands for a provider where the edge dials targets itself.
pub(crate) const DIRECT: &str = "direct";
/// Stands for the providers beyond the bound.
const OTHER: &str = "other";

/// One provider's failures, in the order of [`Code::ALL`].
type Row = Box<[AtomicU64]>;

/// See the module. A provider's row is made at its first failure and stays: failures after that
/// take a lock that none of them holds alone.
pub(crate) struct DialFailures(RwLock<BTreeMap<String, Row>>);

impl Default for DialFailures {
    fn default() -> Self {
        // There from the start: neither takes a place from a provider, whoever comes first.
        let rows = [DIRECT, OTHER].map(|name| (name.to_owned(), row()));
        Self(RwLock::new(BTreeMap::from(rows)))
    }
}

impl DialFailures {
    /// Counts one failure.
    pub fn count(&self, provider: &str, code: Code) {
        {
            let rows = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(row) = rows.get(name(&rows, provider)) {
                add(row, code);
                return;
            }
        }
        let mut rows = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Others may have come first.
        let name = name(&rows, provider).to_owned();
        add(rows.entry(name).or_insert_with(row), code);
    }

    /// Failures so far; zeros left out.
    pub fn so_far(&self) -> Vec<(String, Code, u64)> {
        let rows = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for (provider, row) in rows.iter() {
            let counts = Code::ALL.iter().zip(row.iter().map(|n| n.load(Ordering::Relaxed)));
            found.extend(counts.filter(|(_, n)| *n > 0).map(|(code, n)| (provider.clone(), *code, n)));
        }
        found
    }
}

/// Under which name a provider's failures are counted.
fn name<'a>(rows: &BTreeMap<String, Row>, provider: &'a str) -> &'a str {
    let room = rows.len() < MAX_PROVIDERS + [DIRECT, OTHER].len();
    if room || rows.contains_key(provider) { provider } else { OTHER }
}

fn row() -> Row {
    Code::ALL.iter().map(|_| AtomicU64::new(0)).collect()
}

fn add(row: &[AtomicU64], code: Code) {
    let at = Code::ALL.iter().position(|c| *c == code);
    if let Some(n) = at.and_then(|at| row.get(at)) {
        n.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_beyond_the_bound_are_counted_together() {
        let dials = DialFailures::default();
        for n in 0..200 {
            dials.count(&format!("p{n:03}"), Code::UpstreamConnect);
        }
        dials.count("p000", Code::UpstreamTimeout);
        dials.count("p199", Code::UpstreamTimeout);
        dials.count(DIRECT, Code::UpstreamConnect);
        let found = dials.so_far();
        let of = |name: &str, code: Code| found.iter().find(|(p, c, _)| p == name && *c == code).map(|(.., n)| *n);
        assert_eq!((of("p000", Code::UpstreamConnect), of("p000", Code::UpstreamTimeout)), (Some(1), Some(1)));
        assert_eq!((of("p063", Code::UpstreamConnect), of("p064", Code::UpstreamConnect)), (Some(1), None));
        assert_eq!((of(OTHER, Code::UpstreamConnect), of(OTHER, Code::UpstreamTimeout)), (Some(136), Some(1)));
        assert_eq!(of(DIRECT, Code::UpstreamConnect), Some(1));
        assert_eq!(found.iter().map(|(.., n)| n).sum::<u64>(), 203);
        assert_eq!(found.len(), 64 + 1 + 2 + 1);
    }

    #[test]
    fn nobody_has_two_rows_whatever_a_provider_is_called() {
        let dials = DialFailures::default();
        for n in 0..64 {
            dials.count(&format!("p{n}"), Code::UpstreamAuth);
        }
        dials.count(OTHER, Code::UpstreamAuth);
        dials.count("one_more", Code::UpstreamAuth);
        let other: Vec<_> = dials.so_far().into_iter().filter(|(p, ..)| p == OTHER).collect();
        assert_eq!(other, [(OTHER.to_owned(), Code::UpstreamAuth, 2)]);
    }
}
