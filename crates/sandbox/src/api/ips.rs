//! `/zone/ips`: buy, release, list.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::App;
use super::reply::{Reply, perform};
use crate::dialect::{AlreadyGone, NewIps, ReleaseAnswer, SoldOut};
use crate::fault::{Call, FaultSet};
use crate::shared::Shared;
use crate::zone::{Answered, PurchaseCall};

/// Most addresses one call buys.
const MAX_COUNT: u32 = 1_000;
/// Addresses of the zone that an overlapping `new_ips` names beside the bought ones.
const OVERLAP: usize = 2;
/// The vendor's text for a country without stock, and, misleadingly, for an upper-case code.
const NO_IPS: &str = "No IPs available";

#[derive(Deserialize)]
pub(super) struct BuyBody {
    customer: Option<String>,
    zone: Option<String>,
    count: Option<u32>,
    country: Option<String>,
}

pub(super) async fn buy(State(shared): App, body: Bytes) -> Response {
    let Ok(body) = serde_json::from_slice::<BuyBody>(&body) else {
        return Reply::bad("Invalid request body").into_response();
    };
    match body.customer.as_deref() {
        None => return Reply::bad("customer is required").into_response(),
        Some(c) if c != shared.config.account => return (StatusCode::FORBIDDEN, "Forbidden").into_response(),
        Some(_) => {}
    }
    if let Err(refused) = known_zone(&shared, body.zone.as_deref()) {
        return refused.into_response();
    }
    let Some(count) = body.count.filter(|n| (1..=MAX_COUNT).contains(n)) else {
        return Reply::bad("count is required").into_response();
    };
    let faults = shared.faults.take(Call::Buy);
    if faults.hang() || faults.status().is_some() {
        let answered = faults.status().map_or(Answered::Never, |(code, _)| Answered::Status(code));
        let (at, country) = (shared.now(), body.country.clone());
        shared.change(|z| z.record(PurchaseCall { at, country, count, bought: Vec::new(), answered }));
    }
    perform(&shared, faults, move |s, faults| do_buy(s, faults, body.country, count)).await
}

fn do_buy(shared: &Shared, faults: &FaultSet, country: Option<String>, count: u32) -> Reply {
    let dialects = shared.dialects();
    let now = shared.now();
    let upper_case = country.as_deref().is_some_and(|c| c.bytes().any(|b| b.is_ascii_uppercase()));
    let for_sale = !upper_case && !faults.no_stock();
    shared.change(|zone| {
        let bought = if for_sale {
            zone.buy(country.as_deref(), count, &dialects, faults.delayed_listing(), now)
        } else {
            Vec::new()
        };
        let answered = match () {
            () if faults.lost() => Answered::Never,
            () if faults.charged_then_500() => Answered::Status(500),
            () if faults.garbage() => Answered::Garbage,
            () if bought.is_empty() => Answered::SoldOut,
            () => Answered::Bought,
        };
        zone.record(PurchaseCall { at: now, country, count, bought: bought.clone(), answered });
        let mut ips = zone.visible(now);
        if bought.is_empty() {
            return match dialects.sold_out {
                _ if upper_case => Reply::bad(NO_IPS),
                SoldOut::Text400 => Reply::bad(NO_IPS),
                SoldOut::EmptyNewIps => Reply::Json(json!({"ips": ips, "new_ips": []})),
                SoldOut::WithoutNewIps => Reply::Json(json!({"ips": ips})),
            };
        }
        ips.extend(bought.iter().filter(|ip| !ips.contains(ip)).copied().collect::<Vec<_>>());
        let mut new_ips = match dialects.new_ips {
            NewIps::Exact => Vec::new(),
            NewIps::Overlapping => zone.newest_held(OVERLAP, &bought),
        };
        new_ips.extend(bought);
        Reply::Json(json!({"ips": ips, "new_ips": new_ips}))
    })
}

#[derive(Deserialize)]
pub(super) struct ReleaseBody {
    zone: Option<String>,
    ips: Option<Vec<String>>,
}

pub(super) async fn release(State(shared): App, body: Bytes) -> Response {
    let Ok(body) = serde_json::from_slice::<ReleaseBody>(&body) else {
        return Reply::bad("Invalid request body").into_response();
    };
    if let Err(refused) = known_zone(&shared, body.zone.as_deref()) {
        return refused.into_response();
    }
    let Some(ips) = body.ips.filter(|ips| !ips.is_empty()) else {
        return Reply::bad("ips is required").into_response();
    };
    let Ok(ips) = ips.iter().map(|ip| ip.parse()).collect::<Result<Vec<Ipv4Addr>, _>>() else {
        return Reply::bad("Invalid IP format").into_response();
    };
    perform(&shared, shared.faults.take(Call::Release), move |s, _| do_release(s, &ips)).await
}

fn do_release(shared: &Shared, ips: &[Ipv4Addr]) -> Reply {
    let dialects = shared.dialects();
    let now = shared.now();
    shared.change(|zone| {
        if dialects.already_gone == AlreadyGone::Text400
            && let Some(gone) = ips.iter().find(|ip| !zone.holds(**ip))
        {
            return Reply::bad(format!("IP {gone} not found in zone"));
        }
        let removed: Vec<_> = ips.iter().copied().filter(|ip| zone.release(*ip, now)).collect();
        Reply::Json(match dialects.release {
            ReleaseAnswer::Removed => json!({"ips": removed}),
            ReleaseAnswer::Remaining => json!({"ips": zone.visible(now)}),
        })
    })
}

#[derive(Deserialize)]
pub(super) struct ListQuery {
    zone: Option<String>,
    ip_per_country: Option<bool>,
}

pub(super) async fn list(State(shared): App, Query(query): Query<ListQuery>) -> Response {
    if let Err(refused) = known_zone(&shared, query.zone.as_deref()) {
        return refused.into_response();
    }
    let per_country = query.ip_per_country == Some(true);
    perform(&shared, shared.faults.take(Call::List), move |s, _| do_list(s, per_country)).await
}

fn do_list(shared: &Shared, per_country: bool) -> Reply {
    let now = shared.now();
    let seen = shared.read(|zone| zone.list(now));
    if per_country {
        let mut counts = BTreeMap::<String, u32>::new();
        for (_, country) in seen {
            *counts.entry(country).or_default() += 1;
        }
        return Reply::Json(json!(counts));
    }
    let row = |(ip, cc): &(Ipv4Addr, String)| json!({"ip": ip, "maxmind": cc, "ext": {"dbip": cc, "ip2location": cc, "google": cc}});
    Reply::Json(json!({"ips": seen.iter().map(row).collect::<Vec<_>>()}))
}

pub(super) fn known_zone(shared: &Shared, zone: Option<&str>) -> Result<(), Reply> {
    match zone {
        None => Err(Reply::bad("zone is required")),
        Some(z) if z != shared.config.zone => Err(Reply::bad("Zone not found")),
        Some(_) => Ok(()),
    }
}
