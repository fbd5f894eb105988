//! Days that are written, and days added up.

use tollgate_domain::daily::DayTotal;
use tollgate_store::days::{DAY_SHARDS, MarkedDay};
use tollgate_store::usage::{DayUsage, UsageKey};

use super::*;

const DAY: &str = "2027-01-14";

/// All marked days before `before`, in pages of about `limit` marks.
async fn marked(s: &Store, before: &str, limit: usize) -> Vec<MarkedDay> {
    let mut all = Vec::new();
    for shard in 0..DAY_SHARDS {
        let mut after: Option<MarkedDay> = None;
        loop {
            let page = s.days_written(shard, before, after.as_ref(), limit).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            all.extend(page);
        }
    }
    all
}

fn shown(days: &[MarkedDay]) -> Vec<String> {
    let of = |d: &MarkedDay| {
        let marks = d.marks.iter().map(|m| format!("{}{}", m.session, if m.passed { "+" } else { "" }));
        format!("{} {}: {}", d.day, d.customer, marks.collect::<Vec<_>>().join(" "))
    };
    days.iter().map(of).collect()
}

#[tokio::test]
async fn a_marked_day_is_found_with_all_who_write_it_oldest_first() {
    let (e, s) = store().await;
    for (day, n) in [("2027-01-15", 1), (DAY, 2), (DAY, 1), ("2026-12-31", 1), ("2027-01-16", 1)] {
        losing(&e, "PutItem").0.begin_day(&demo(), day, &edge(n)).await.unwrap();
    }
    assert!(s.pass_day(&demo(), DAY, &edge(2)).await.unwrap());
    assert!(losing(&e, "UpdateItem").0.pass_day(&demo(), "2026-12-31", &edge(1)).await.unwrap());
    assert!(!s.pass_day(&demo(), DAY, &edge(3)).await.unwrap(), "it wrote nothing");
    let all = ["2026-12-31 demo: e1.1+", "2027-01-14 demo: e1.1 e2.1+", "2027-01-15 demo: e1.1"];
    assert_eq!(shown(&marked(&s, "2027-01-16", 100).await), all);
    assert_eq!(shown(&marked(&s, DAY, 100).await), all[..1], "before, and not on that day");
    assert!(marked(&s, "2026-12-31", 100).await.is_empty());
}

#[tokio::test]
async fn no_page_cuts_a_day_in_two_or_mixes_customers() {
    let (_e, s) = store().await;
    let customers = ["a", "a0", "a_b", "aa", "b"];
    for customer in customers {
        for n in 1..=3 {
            s.begin_day(&customer.parse().unwrap(), DAY, &edge(n)).await.unwrap();
        }
    }
    let mut all = customers.map(|c| format!("{DAY} {c}: e1.1 e2.1 e3.1"));
    all.sort();
    for limit in 1..=5 {
        let mut found = shown(&marked(&s, "2027-01-15", limit).await);
        found.sort();
        assert_eq!(found, all, "{limit}");
    }
}

#[tokio::test]
async fn a_mark_that_was_made_anew_is_not_struck() {
    let (e, s) = store().await;
    for n in 1..=2 {
        s.begin_day(&demo(), DAY, &edge(n)).await.unwrap();
        s.pass_day(&demo(), DAY, &edge(n)).await.unwrap();
    }
    let seen = marked(&s, "2027-01-15", 100).await.remove(0);
    s.begin_day(&demo(), DAY, &edge(2)).await.unwrap();
    s.begin_day(&demo(), DAY, &edge(3)).await.unwrap();
    assert!(!s.strike_day(&seen).await.unwrap());
    assert_eq!(shown(&marked(&s, "2027-01-15", 100).await), ["2027-01-14 demo: e2.1 e3.1"]);
    // Not even after another had struck all of them.
    let seen = marked(&s, "2027-01-15", 100).await.remove(0);
    assert!(losing(&e, "DeleteItem").0.strike_day(&seen).await.unwrap());
    assert!(s.strike_day(&seen).await.unwrap(), "they are gone already");
    s.begin_day(&demo(), DAY, &edge(2)).await.unwrap();
    assert!(!s.strike_day(&seen).await.unwrap());
    // Passing a day says nothing new of it.
    let seen = marked(&s, "2027-01-15", 100).await.remove(0);
    s.pass_day(&demo(), DAY, &edge(2)).await.unwrap();
    assert!(s.strike_day(&seen).await.unwrap());
    assert!(marked(&s, "2027-01-15", 100).await.is_empty());
}

#[tokio::test]
async fn a_total_is_replaced_by_one_of_later_rows_alone() {
    let (e, s) = store().await;
    let key = |line: &str| UsageKey {
        day: DAY.into(),
        line: line.parse().unwrap(),
        proxy: "brd/2001:db8::1".parse().unwrap(),
        session: edge(1),
    };
    let total = async || {
        let rows = s.usage_of_day(&demo(), DAY).await.unwrap();
        DayTotal::of(rows.iter().map(|(key, usage)| (&key.proxy, usage)))
    };
    let usage = |seq, ingress| DayUsage { seq, ingress, first_at: at(0), last_at: at(seq), ..DayUsage::default() };
    assert!(s.record_usage(&demo(), &key("a"), &usage(5, 10)).await.unwrap());
    let other_day = UsageKey { day: "2027-01-13".into(), ..key("a") };
    assert!(s.record_usage(&demo(), &other_day, &usage(9, 1000)).await.unwrap());
    let first = total().await;
    assert_eq!((first.moved.ingress, first.seqs, first.rows), (10, 5, 1));
    assert!(s.record_usage(&demo(), &key("b"), &usage(1, 7)).await.unwrap());
    let second = total().await;
    assert!(s.record_rollup(&demo(), DAY, &second, at(1)).await.unwrap());
    assert!(!s.record_rollup(&demo(), DAY, &second, at(2)).await.unwrap());
    assert!(!s.record_rollup(&demo(), DAY, &first, at(3)).await.unwrap(), "a slower one read less");
    assert!(s.record_usage(&demo(), &key("a"), &usage(6, 12)).await.unwrap());
    let third = total().await;
    losing(&e, "PutItem").0.record_rollup(&demo(), DAY, &third, at(4)).await.unwrap();
    let found = s.rollups(&demo(), "2027-01").await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].day.as_str(), &found[0].total, found[0].at), (DAY, &third, at(4)));
    assert_eq!(found[0].total.moved.ingress, 19);
    assert!(s.rollups(&demo(), "2027-02").await.unwrap().is_empty());
}

#[tokio::test]
async fn the_roster_of_one_customer_names_no_other() {
    use tollgate_store::allowance::Rostered;
    let (_e, s) = store().await;
    for customer in ["demo", "demo_2", "dem"] {
        let entry = Rostered { customer: customer.parse().unwrap(), bucket: plan() };
        s.roster_add(&edge(1), &entry).await.unwrap();
    }
    assert_eq!(s.roster_of(&edge(1), &demo()).await.unwrap(), [plan()]);
    assert!(s.roster_of(&edge(2), &demo()).await.unwrap().is_empty());
}
