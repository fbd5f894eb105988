//! The JSON of answers. Unknown fields are passed over; a field that is needed and is missing or
//! of another type is an error, never a default.

use std::net::IpAddr;

use serde_json::Value;
use tollgate_domain::country::Country;
use tollgate_domain::money::Money;
use tollgate_domain::refusal::Code;

use crate::api::Answer;
use crate::market::{AccountStatus, Balance, Listed, ProviderError};

/// The addresses of a zone. One that cannot be read spoils the list: left out, it would look
/// as if the provider had taken it away.
pub(super) fn listed(answer: &Answer) -> Result<Vec<Listed>, ProviderError> {
    let json = parse(answer)?;
    let rows = json["ips"].as_array().ok_or_else(|| unreadable("it holds no `ips`"))?;
    rows.iter().map(row).collect::<Option<_>>().ok_or_else(|| unreadable("an entry of `ips` is no address"))
}

fn row(row: &Value) -> Option<Listed> {
    let text = row.as_str().or_else(|| row["ip"].as_str())?;
    let ip: IpAddr = text.trim().parse().ok()?;
    Some(Listed { ip: ip.to_string(), country: row["maxmind"].as_str().and_then(Country::parse) })
}

pub(super) fn count(answer: &Answer) -> Result<u64, ProviderError> {
    parse(answer)?["count"].as_u64().ok_or_else(|| unreadable("it holds no `count`"))
}

/// This month's cost: `{"<id>": {"back_m0": {"cost": 0.67}}}`. Absent counters mean nothing.
pub(super) fn cost(answer: &Answer, account: &str) -> Result<Money, ProviderError> {
    let json = parse(answer)?;
    let by_id = json.as_object().ok_or_else(|| unreadable("it is no object"))?;
    // The id may be another spelling of the account's; a key sees one account.
    let Some(ours) = by_id.get(account).or_else(|| by_id.values().next()) else {
        return Ok(Money::usd_micros(0));
    };
    let micros = match &ours["back_m0"]["cost"] {
        Value::Null => Some(0),
        cost => micros(cost).and_then(|m| u64::try_from(m).ok()),
    };
    micros.map(Money::usd_micros).ok_or_else(|| unreadable("its `cost` is no amount"))
}

pub(super) fn balance(answer: &Answer) -> Result<Balance, ProviderError> {
    let json = parse(answer)?;
    let amount = |field: &Value| micros(field).ok_or_else(|| unreadable("it holds no `balance`"));
    // Two sets of field names are documented.
    let pending = [&json["pending_balance"], &json["pending_costs"]].into_iter().find(|f| !f.is_null());
    Ok(Balance { micros: amount(&json["balance"])?, pending_micros: pending.map_or(Ok(0), amount)? })
}

pub(super) fn status(answer: &Answer) -> Result<AccountStatus, ProviderError> {
    let json = parse(answer)?;
    let word = json["status"].as_str().ok_or_else(|| unreadable("it holds no `status`"))?;
    let usable = json["can_make_requests"].as_bool().unwrap_or(word == "active");
    Ok(AccountStatus { word: word.chars().take(64).collect(), usable })
}

fn parse(answer: &Answer) -> Result<Value, ProviderError> {
    serde_json::from_str(&answer.text).map_err(|_| unreadable("it is not JSON"))
}

fn unreadable(why: &str) -> ProviderError {
    ProviderError { code: Code::ProviderUnavailable.as_str(), reason: format!("cannot read the answer: {why}") }
}

/// Dollars, as a number or its text, to the nearest millionth.
fn micros(dollars: &Value) -> Option<i64> {
    let dollars = dollars.as_f64().or_else(|| dollars.as_str()?.trim().parse().ok())?;
    // Printed with six decimals it is rounded once, and no cast can wrap.
    (dollars.abs() < 1e12).then(|| format!("{dollars:.6}").replace('.', "").parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn dollars_become_millionths_without_drift() {
        for (dollars, expected) in [
            (json!(0.6772), Some(677_200)),
            (json!(-12.5), Some(-12_500_000)),
            (json!(4), Some(4_000_000)),
            (json!("3.10"), Some(3_100_000)),
            (json!(1e-7), Some(0)),
            (json!(0.1 + 0.2), Some(300_000)),
            (json!(-0.25), Some(-250_000)),
            (json!(1e300), None),
            (json!("NaN"), None),
            (json!("much"), None),
            (json!(true), None),
        ] {
            assert_eq!(micros(&dollars), expected, "{dollars}");
        }
    }
}
