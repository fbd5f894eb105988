//! The plans a new installation starts with.
//!
//! Threads, quotas and prices are the published ones. The rest was never published and is chosen
//! here: lines are two to five times the threads, as most lines are silent most of the time, and
//! as many as the threads where the plan is free; sessions, which own nothing, are twice the
//! lines; a day's spending buys two addresses on the free plan and 5, 25 and 100 on the others
//! at about four dollars each, far fewer than there are lines, as lines mostly recycle.

use super::{Limits, Plan};
use crate::money::{GB, MB, Money};

/// A tunnel admitted for every one over the plan, until the strike clock says otherwise.
const THREAD_BURST_MILLI: u32 = 2000;
const SETTLE_S: u32 = 5;
const DOLLAR: u64 = 1_000_000;
const CENT: u64 = 10_000;

/// Codes under which other price lists know a plan.
const ALIASES: [(&str, &str); 1] = [("business", "basic")];

/// The shipped plans, smallest first, each in version 1.
#[must_use]
pub fn catalogue() -> Vec<Plan> {
    vec![
        plan("free", [5, 10, 5, 10], MB, Some(100 * MB), Some(8), 0, 0),
        plan("basic", [10, 20, 20, 40], 5 * MB, Some(GB), Some(20), 10, 0),
        plan("premium", [10, 20, 20, 40], 5 * MB, None, Some(20), 10, CENT),
        plan("pro", [50, 100, 200, 400], 20 * MB, Some(10 * GB), Some(100), 50, 0),
        plan("enterprise", [200, 400, 1000, 2000], 100 * MB, Some(100 * GB), Some(400), 200, 0),
        // Everything by contract: no limit until one is agreed.
        plan("custom", [0, 0, 0, 0], 0, None, None, 500, 0),
    ]
}

/// The shipped plan with this code or alias.
#[must_use]
pub fn by_code(code: &str) -> Option<Plan> {
    let code = ALIASES.iter().find(|(alias, _)| *alias == code).map_or(code, |(_, code)| code);
    catalogue().into_iter().find(|plan| plan.code == code)
}

/// `counts`: threads, QPS, lines, sessions. Prices and spending in dollars, per GB in micros.
fn plan(
    code: &str,
    counts: [u32; 4],
    rate_total: u64,
    quota_bytes: Option<u64>,
    spend_day: Option<u64>,
    base: u64,
    per_gb: u64,
) -> Plan {
    let [threads, qps, max_lines, max_sessions] = counts;
    let dollars = |n: u64| Money::usd_micros(n * DOLLAR);
    Plan {
        code: code.to_owned(),
        ver: 1,
        limits: Limits {
            threads,
            thread_burst_milli: THREAD_BURST_MILLI,
            qps,
            rate_total,
            quota_bytes,
            max_lines,
            max_sessions,
            spend_day: spend_day.map(dollars),
            settle_s: SETTLE_S,
            ..Limits::default()
        },
        base: dollars(base),
        per_gb: Money::usd_micros(per_gb),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn published_threads_quotas_and_prices_are_kept() {
        let rows: Vec<_> = catalogue()
            .into_iter()
            .map(|p| {
                let l = p.limits;
                format!("{} {} {:?} {} {}", p.code, l.threads, l.quota_bytes, p.base, p.per_gb)
            })
            .collect();
        assert_eq!(
            rows,
            [
                "free 5 Some(104857600) 0.00 USD 0.00 USD",
                "basic 10 Some(1073741824) 10.00 USD 0.00 USD",
                "premium 10 None 10.00 USD 0.01 USD",
                "pro 50 Some(10737418240) 50.00 USD 0.00 USD",
                "enterprise 200 Some(107374182400) 200.00 USD 0.00 USD",
                "custom 0 None 500.00 USD 0.00 USD",
            ]
        );
    }

    #[test]
    fn plans_are_found_by_code_and_alias() {
        assert_eq!(by_code("business"), by_code("basic"));
        assert_eq!(by_code("business").map(|p| p.code), Some("basic".to_owned()));
        for plan in catalogue() {
            assert_eq!(by_code(&plan.code), Some(plan));
        }
        for unknown in ["", "Free", "gold"] {
            assert_eq!(by_code(unknown), None);
        }
        let codes: BTreeSet<_> = catalogue().into_iter().map(|p| p.code).collect();
        assert_eq!(codes.len(), 6);
    }

    #[test]
    fn every_plan_but_custom_is_limited_in_every_way() {
        for plan in catalogue() {
            let l = &plan.limits;
            assert_eq!((plan.ver, l.settle_s, l.thread_burst_milli), (1, 5, 2000), "{}", plan.code);
            let custom = plan.code == "custom";
            for n in [l.threads, l.qps, l.max_lines, l.max_sessions] {
                assert_eq!(n == 0, custom, "{}", plan.code);
            }
            assert_eq!(l.rate_total == 0, custom, "{}", plan.code);
            assert_eq!(l.spend_day.is_none(), custom, "{}", plan.code);
        }
    }

    #[test]
    fn a_larger_plan_is_nowhere_smaller() {
        for pair in catalogue()[..5].windows(2) {
            let (a, b) = (&pair[0].limits, &pair[1].limits);
            assert!(a.threads <= b.threads && a.qps <= b.qps && a.rate_total <= b.rate_total, "{}", pair[1].code);
            assert!(a.max_lines <= b.max_lines && a.max_sessions <= b.max_sessions, "{}", pair[1].code);
            assert!(a.spend_day.map(|m| m.micros) <= b.spend_day.map(|m| m.micros), "{}", pair[1].code);
        }
    }

    #[test]
    fn capacity_is_the_plan_with_its_burst() {
        let free = by_code("free").unwrap().limits;
        assert_eq!(free.hard_threads(), 10);
        let c = free.capacity();
        assert_eq!((c.hard, c.qps, c.rate), (10, 10, MB));
        let custom = by_code("custom").unwrap().limits;
        assert_eq!(custom.capacity(), crate::share::Capacity::default(), "unlimited stays unlimited");
        let strict = Limits { thread_burst_milli: 1000, ..free };
        assert_eq!(strict.hard_threads(), strict.threads);
    }

    #[test]
    fn a_plan_survives_being_stored() {
        for plan in catalogue() {
            let json = serde_json::to_string(&plan).unwrap();
            assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
        }
    }
}
