use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tollgate_sandbox::{Answered, Call, Delay, Dialects, Fault, SoldOut};

use crate::support::{api_request, buy_body, exchange, world};

const SHORT: Duration = Duration::from_millis(150);

#[tokio::test]
async fn no_stock_is_said_in_the_dialect_and_serves_one_call() {
    let w = world().await;
    w.sandbox.set_dialects(Dialects { sold_out: SoldOut::EmptyNewIps, ..Dialects::default() });
    w.sandbox.faults().push(Call::Buy, Fault::NoStock);
    w.sandbox.faults().push(Call::Count, Fault::NoStock);
    assert_eq!(w.buy("nl", 1).await.json(), json!({"ips": [], "new_ips": []}));
    assert_eq!(w.get("/count_available_ips?zone=isp_sandbox").await.json(), json!({"count": 0}));
    assert_eq!(w.buy("nl", 1).await.ips("new_ips").len(), 1);
    assert_eq!(w.get("/count_available_ips?zone=isp_sandbox").await.json(), json!({"count": 6}));
}

#[tokio::test]
async fn a_status_comes_instead_of_the_work_for_every_kind_of_call() {
    let w = world().await;
    let body = buy_body("nl", 1);
    let gone = r#"{"zone":"isp_sandbox","ips":["203.0.113.1"]}"#;
    for (call, method, path, body) in [
        (Call::Buy, "POST", "/zone/ips", body.as_str()),
        (Call::Release, "DELETE", "/zone/ips", gone),
        (Call::List, "GET", "/zone/ips?zone=isp_sandbox", ""),
        (Call::Count, "GET", "/count_available_ips?zone=isp_sandbox", ""),
        (Call::Cost, "GET", "/zone/cost?zone=isp_sandbox", ""),
        (Call::Bandwidth, "GET", "/zone/bw?zone=isp_sandbox", ""),
        (Call::Status, "GET", "/status", ""),
        (Call::Balance, "GET", "/customer/balance", ""),
    ] {
        w.sandbox.faults().push(call, Fault::Status { code: 429, retry_after: Some(7) });
        w.sandbox.faults().push(call, Fault::Status { code: 503, retry_after: None });
        let answer = w.call(method, path, body).await;
        assert_eq!((answer.status, answer.text()), (429, "Too Many Requests"), "{call:?}");
        assert_eq!(answer.headers["retry-after"], "7");
        let answer = w.call(method, path, body).await;
        assert_eq!((answer.status, answer.headers.get("retry-after")), (503, None), "{call:?}");
        assert_eq!(w.call(method, path, body).await.status, 200, "{call:?}");
    }
    w.sandbox.faults().push(Call::Status, Fault::Status { code: 101, retry_after: None });
    assert_eq!(w.get("/status").await.status, 500);
    assert_eq!(w.sandbox.total_charged(), 4_000_000);
    let answered: Vec<_> = w.sandbox.purchases().iter().map(|p| p.answered).collect();
    assert_eq!(answered, [Answered::Status(429), Answered::Status(503), Answered::Bought]);
}

#[tokio::test]
async fn a_charge_whose_answer_is_lost_stands() {
    let w = world().await;
    w.sandbox.faults().push(Call::Buy, Fault::ChargedButAnswerLost);
    let raw = exchange(w.sandbox.api_addr(), &api_request("POST", "/zone/ips", &buy_body("nl", 1))).await;
    assert!(raw.is_empty(), "{raw:?}");
    assert_eq!(w.sandbox.total_charged(), 4_000_000);
    let call = &w.sandbox.purchases()[0];
    assert_eq!((call.bought.len(), call.answered), (1, Answered::Never));
    assert_eq!(w.listed().await, call.bought);

    // A release, too, can be done without an answer.
    w.sandbox.faults().push(Call::Release, Fault::ChargedButAnswerLost);
    let body = format!(r#"{{"zone":"isp_sandbox","ips":["{}"]}}"#, call.bought[0]);
    assert!(exchange(w.sandbox.api_addr(), &api_request("DELETE", "/zone/ips", &body)).await.is_empty());
    assert!(w.listed().await.is_empty());
}

#[tokio::test]
async fn a_charge_may_end_in_500_or_in_garbage() {
    let w = world().await;
    w.sandbox.faults().push(Call::Buy, Fault::ChargedThen500);
    w.sandbox.faults().push(Call::Buy, Fault::Garbage);
    assert_eq!(w.buy("nl", 1).await.status, 500);
    let garbage = w.buy("nl", 1).await;
    assert_eq!(garbage.status, 200);
    assert!(serde_json::from_slice::<serde_json::Value>(&garbage.body).is_err());
    assert_eq!(w.sandbox.total_charged(), 8_000_000);
    let answered: Vec<_> = w.sandbox.purchases().iter().map(|p| p.answered).collect();
    assert_eq!(answered, [Answered::Status(500), Answered::Garbage]);
}

#[tokio::test]
async fn a_slow_call_is_charged_even_if_nobody_waits() {
    let w = world().await;
    w.sandbox.faults().push(Call::Buy, Fault::Slow(SHORT));
    let began = Instant::now();
    assert_eq!(w.buy("nl", 1).await.status, 200);
    assert!(began.elapsed() >= SHORT);

    w.sandbox.faults().push(Call::Buy, Fault::Slow(Duration::from_secs(3600)));
    hang_up_after(&w, 2).await;
    assert_eq!(w.sandbox.held().len(), 2);
}

#[tokio::test]
async fn late_work_is_done_after_the_caller_has_gone() {
    let w = world().await;
    w.sandbox.faults().push(Call::Buy, Fault::Late(SHORT));
    let mut stream = TcpStream::connect(w.sandbox.api_addr()).await.unwrap();
    stream.write_all(&api_request("POST", "/zone/ips", &buy_body("nl", 1))).await.unwrap();
    until(|| w.sandbox.faults().pending(Call::Buy) == 0).await;
    drop(stream);
    assert!(w.sandbox.purchases().is_empty() && w.sandbox.total_charged() == 0);
    until(|| w.sandbox.purchases().len() == 1).await;
    assert_eq!(w.sandbox.total_charged(), 4_000_000);

    w.sandbox.faults().push(Call::Buy, Fault::Late(SHORT));
    assert_eq!(w.buy("nl", 1).await.ips("new_ips").len(), 1);
}

#[tokio::test]
async fn a_hanging_call_does_nothing_and_says_nothing() {
    let w = world().await;
    w.sandbox.faults().push(Call::Buy, Fault::Hang);
    hang_up_after(&w, 1).await;
    assert_eq!(w.sandbox.total_charged(), 0);
    assert_eq!(w.sandbox.purchases()[0].answered, Answered::Never);
}

#[tokio::test]
async fn a_bought_address_may_be_missing_from_listings_for_a_while() {
    let w = world().await;
    w.sandbox.faults().push(Call::Buy, Fault::DelayedListing(Delay::Calls(2)));
    let answer = w.buy("nl", 1).await;
    assert_eq!(answer.ips("ips"), answer.ips("new_ips"));
    assert!(w.listed().await.is_empty());
    assert_eq!(w.get("/zone/ips?zone=isp_sandbox&ip_per_country=true").await.json(), json!({}));
    assert_eq!(w.listed().await, answer.ips("new_ips"));

    let hour = Duration::from_secs(3600);
    let together = [Fault::DelayedListing(Delay::For(hour)), Fault::ChargedThen500];
    w.sandbox.faults().push_set(Call::Buy, together);
    assert_eq!(w.buy("nl", 1).await.status, 500);
    assert_eq!(w.listed().await.len(), 1);
    w.clock.advance(hour);
    assert_eq!(w.listed().await.len(), 2);
}

/// Starts a purchase, waits until it is the `n`-th on record, and goes away unanswered.
async fn hang_up_after(w: &crate::support::World, n: usize) {
    let mut stream = TcpStream::connect(w.sandbox.api_addr()).await.unwrap();
    stream.write_all(&api_request("POST", "/zone/ips", &buy_body("nl", 1))).await.unwrap();
    until(|| w.sandbox.purchases().len() == n).await;
    let answer = tokio::time::timeout(SHORT, stream.read_u8()).await;
    assert!(answer.is_err(), "{answer:?}");
}

/// Waits for a condition that another task brings about.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the condition within 10 s");
}
