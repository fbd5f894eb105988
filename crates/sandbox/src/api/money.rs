//! What things cost and how much moved: `/zone/cost`, `/zone/bw`, `/customer/balance`, `/status`.

use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Map, json};
use tollgate_domain::time::Timestamp;

use super::App;
use super::ips::known_zone;
use super::reply::{Reply, perform};
use crate::dialect::BalanceFields;
use crate::fault::Call;
use crate::shared::Shared;

const DAY_MS: u64 = 86_400_000;

#[derive(Deserialize)]
pub(super) struct RangeQuery {
    zone: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

/// Buckets of a report: their names and bounds, `[from, until)`.
type Buckets = Vec<(String, Timestamp, Timestamp)>;

pub(super) async fn cost(State(shared): App, Query(query): Query<RangeQuery>) -> Response {
    let buckets = match asked(&shared, &query) {
        Ok(buckets) => buckets,
        Err(refused) => return refused.into_response(),
    };
    let work = move |s: &Shared, _: &_| cost_report(s, &buckets, &query);
    perform(&shared, shared.faults.take(Call::Cost), work).await
}

pub(super) async fn bandwidth(State(shared): App, Query(query): Query<RangeQuery>) -> Response {
    let buckets = match asked(&shared, &query) {
        Ok(buckets) => buckets,
        Err(refused) => return refused.into_response(),
    };
    let work = move |s: &Shared, _: &_| {
        let mut sums = Map::new();
        for (name, from, until) in &buckets {
            let n = s.bytes.between(*from, *until);
            sums.insert(name.clone(), json!({"bw_sum": n.total(), "bw_up": n.up, "bw_dn": n.down}));
        }
        let zones = json!({ s.config.zone.as_str(): sums });
        Reply::Json(json!({ s.config.account.as_str(): {"sums": zones} }))
    };
    perform(&shared, shared.faults.take(Call::Bandwidth), work).await
}

pub(super) async fn balance(State(shared): App) -> Response {
    perform(&shared, shared.faults.take(Call::Balance), |s, _| {
        let charged = charged_until_now(s);
        let opening = i128::from(s.config.opening_balance_micros);
        let balance = dollars(opening - i128::from(charged));
        Reply::Json(match s.dialects().balance {
            BalanceFields::Documented => json!({"balance": balance, "pending_balance": 0}),
            BalanceFields::Recorded => {
                json!({"balance": balance, "credit": 0, "prepayment": dollars(opening), "pending_costs": 0})
            }
        })
    })
    .await
}

pub(super) async fn status(State(shared): App) -> Response {
    perform(&shared, shared.faults.take(Call::Status), |_, _| {
        // A display name, on purpose: it is not the id that user names are made of.
        let name = "Sandbox Customer Ltd";
        Reply::Json(json!({"status": "active", "customer": name, "can_make_requests": true, "ip": "127.0.0.1"}))
    })
    .await
}

fn cost_report(shared: &Shared, buckets: &Buckets, query: &RangeQuery) -> Reply {
    charged_until_now(shared);
    let mut report = Map::new();
    for (name, from, until) in buckets {
        let cost = shared.read(|z| z.ledger().charged_between(*from, *until));
        let bw = shared.bytes.between(*from, *until).total();
        let mut bucket = json!({"bw": bw, "cost": dollars(i128::from(cost)), "gbs": bw as f64 / 1e9});
        if name == "custom" {
            bucket["range"] = json!({"from": query.from, "to": query.to});
        }
        report.insert(name.clone(), bucket);
    }
    Reply::Json(json!({ shared.config.account.as_str(): report }))
}

fn charged_until_now(shared: &Shared) -> u64 {
    let now = shared.now();
    shared.read(|z| {
        z.ledger().bring_up_to(now);
        z.ledger().total()
    })
}

/// The vendor reports dollars as JSON numbers.
fn dollars(micros: i128) -> f64 {
    micros as f64 / 1e6
}

fn asked(shared: &Shared, query: &RangeQuery) -> Result<Buckets, Reply> {
    known_zone(shared, query.zone.as_deref())?;
    let now = shared.now();
    let (Some(from), Some(to)) = (&query.from, &query.to) else { return Ok(back_buckets(now)) };
    match (parse_time(from), parse_time(to)) {
        (Some(from), Some(to)) => Ok(vec![("custom".to_owned(), from, to)]),
        _ => Err(Reply::bad("Invalid date")),
    }
}

/// Without a range: this and the last two days, this and the last two months.
fn back_buckets(now: Timestamp) -> Buckets {
    let mut buckets = Vec::new();
    let mut until = Timestamp::from_millis(now.day_start().as_millis().saturating_add(DAY_MS));
    for n in 0..3 {
        let from = Timestamp::from_millis(until.as_millis().saturating_sub(DAY_MS));
        buckets.push((format!("back_d{n}"), from, until));
        until = from;
    }
    let mut until = now.next_month_start();
    for n in 0..3 {
        let from = Timestamp::from_millis(until.as_millis().saturating_sub(1)).month_start();
        buckets.push((format!("back_m{n}"), from, until));
        until = from;
    }
    buckets
}

/// `2018-07-01T00:00:00` or `2018-07-01`, UTC.
fn parse_time(text: &str) -> Option<Timestamp> {
    let civil = text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(|d| d.at(0, 0, 0, 0))).ok()?;
    let ms = civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
    u64::try_from(ms).ok().map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_adjacent_and_end_now() {
        let now = parse_time("2027-01-15T12:00:00").unwrap();
        let buckets = back_buckets(now);
        let bounds: Vec<_> = buckets.iter().map(|(n, f, u)| format!("{n} {}..{}", f.day(), u.day())).collect();
        assert_eq!(
            bounds,
            [
                "back_d0 2027-01-15..2027-01-16",
                "back_d1 2027-01-14..2027-01-15",
                "back_d2 2027-01-13..2027-01-14",
                "back_m0 2027-01-01..2027-02-01",
                "back_m1 2026-12-01..2027-01-01",
                "back_m2 2026-11-01..2026-12-01",
            ]
        );
        assert_eq!(parse_time("2027-01-15"), parse_time("2027-01-15T00:00:00"));
        assert_eq!(parse_time("1969-01-01"), None);
        assert_eq!(parse_time("yesterday"), None);
    }
}
