//! `/sandbox/*`: the doors that Bright Data does not have, for people and for tests in other
//! processes. Same key as the management API.
//!
//! | Call | Body or answer |
//! | --- | --- |
//! | `POST /sandbox/faults` | `{"call":"buy","faults":["charged_but_answer_lost"]}`: one future call suffers all of them |
//! | `DELETE /sandbox/faults` | forgets the queues |
//! | `GET`, `POST /sandbox/dialects` | `{"sold_out":"empty_new_ips",…}`; fields not given take their default |
//! | `GET`, `POST /sandbox/stock` | `{"nl":5}`; `POST {"country":"nl","count":5}` |
//! | `POST /sandbox/addresses` | `{"country":"nl","count":1}`: bought by hand, past the API |
//! | `DELETE /sandbox/addresses` | `{"ip":"203.0.113.1"}`: taken away by the provider |
//! | `POST /sandbox/price` | `{"micros":4000000}` |
//! | `POST /sandbox/gateway` | `{"down":true}`, `{"dial_delay_ms":500}`, `{"refuse_with":"client_10020"}` (`null` ends it) |
//! | `GET /sandbox/ledger` | `{"now","currency","total_micros","rows","purchases"}`, times in ms since 1970 |
//! | `GET /sandbox/bytes` | `{"up","down","rows":[{"user","ip","up","down"}]}` |

use std::net::Ipv4Addr;
use std::time::Duration;

use axum::extract::State;
use bytes::Bytes;
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::App;
use super::reply::Reply;
use crate::dialect::{Dialects, ShortStock};
use crate::fault::{Call, Fault};
use crate::lock;

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Reply> {
    serde_json::from_slice(body).map_err(|e| Reply::bad(e.to_string()))
}

fn done() -> Reply {
    Reply::Text(StatusCode::OK, "ok\n".to_owned())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultsBody {
    call: Call,
    faults: Vec<Fault>,
}

pub(super) async fn push_faults(State(shared): App, body: Bytes) -> Result<Reply, Reply> {
    let FaultsBody { call, faults } = parse(&body)?;
    shared.faults.push_set(call, faults);
    Ok(done())
}

pub(super) async fn clear_faults(State(shared): App) -> Reply {
    shared.faults.clear();
    done()
}

pub(super) async fn dialects(State(shared): App) -> Reply {
    Reply::Json(json!(shared.dialects()))
}

pub(super) async fn set_dialects(State(shared): App, body: Bytes) -> Result<Reply, Reply> {
    let dialects: Dialects = parse(&body)?;
    *lock(&shared.dialects) = dialects;
    Ok(done())
}

pub(super) async fn stock(State(shared): App) -> Reply {
    Reply::Json(shared.read(|z| json!(z.stock())))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StockBody {
    country: String,
    count: u32,
}

pub(super) async fn set_stock(State(shared): App, body: Bytes) -> Result<Reply, Reply> {
    let StockBody { country, count } = parse(&body)?;
    if country.len() != 2 || !country.bytes().all(|b| b.is_ascii_lowercase()) {
        return Err(Reply::bad("country is a lower-case code of two letters"));
    }
    shared.change(|z| z.set_stock(&country, count));
    Ok(done())
}

pub(super) async fn buy_by_hand(State(shared): App, body: Bytes) -> Result<Reply, Reply> {
    let StockBody { country, count } = parse(&body)?;
    let (now, dialects) = (shared.now(), Dialects { short_stock: ShortStock::Partial, ..shared.dialects() });
    let bought = shared.change(|z| z.buy(Some(&country), count, &dialects, None, now));
    Ok(Reply::Json(json!({"bought": bought})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddressBody {
    ip: Ipv4Addr,
}

pub(super) async fn take_away(State(shared): App, body: Bytes) -> Result<Reply, Reply> {
    let AddressBody { ip } = parse(&body)?;
    let now = shared.now();
    if shared.change(|z| z.release(ip, now)) { Ok(done()) } else { Err(Reply::bad("the zone does not hold it")) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceBody {
    micros: u64,
}

pub(super) async fn set_price(State(shared): App, body: Bytes) -> Result<Reply, Reply> {
    let PriceBody { micros } = parse(&body)?;
    let now = shared.now();
    shared.change(|z| z.ledger().set_price(micros, now));
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GatewayBody {
    down: Option<bool>,
    dial_delay_ms: Option<u64>,
    /// Absent: unchanged. `null`: no more.
    #[serde(default, deserialize_with = "present")]
    refuse_with: Option<Option<String>>,
}

fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(d).map(Some)
}

pub(super) async fn set_gateway(State(shared): App, body: Bytes) -> Result<Reply, Reply> {
    let GatewayBody { down, dial_delay_ms, refuse_with } = parse(&body)?;
    if let Some(code) = refuse_with
        && !shared.gateway.refuse_with(code.as_deref())
    {
        return Err(Reply::bad("refuse_with is not a code this sandbox knows"));
    }
    if let Some(ms) = dial_delay_ms {
        shared.gateway.set_dial_delay(Duration::from_millis(ms));
    }
    if let Some(down) = down {
        shared.gateway.set_down(down).await;
    }
    Ok(done())
}

pub(super) async fn ledger(State(shared): App) -> Reply {
    let now = shared.now();
    Reply::Json(shared.read(|z| {
        z.ledger().bring_up_to(now);
        let (total, rows) = (z.ledger().total(), z.ledger().rows().to_vec());
        json!({"now": now, "currency": "USD", "total_micros": total, "rows": rows, "purchases": z.purchases()})
    }))
}

pub(super) async fn bytes(State(shared): App) -> Reply {
    let rows = shared.bytes.rows();
    let (up, down) = rows.iter().fold((0, 0), |(up, down), r| (up + r.bytes.up, down + r.bytes.down));
    Reply::Json(json!({"up": up, "down": down, "rows": rows}))
}
