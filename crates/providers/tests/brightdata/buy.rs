use std::time::Duration;

use serde_json::json;
use tollgate_domain::country::Country;
use tollgate_domain::intent::PurchaseAnswer;
use tollgate_providers::{BrightData, BuyOrder, ProxyMarket};

use crate::server::{Act, KEY, LONG, Server, json, nobody, with_headers};

fn order() -> BuyOrder {
    BuyOrder { zone: "isp".into(), country: Country::parse("GB").unwrap(), count: 2 }
}

/// How a purchase ends for which the provider acts so; it was asked once.
async fn bought(act: Act) -> PurchaseAnswer {
    bought_within(act, LONG).await
}

async fn bought_within(act: Act, within: Duration) -> PurchaseAnswer {
    let server = Server::plays([act]).await;
    let answer = server.client.buy(order(), within).await;
    assert_eq!(server.seen().len(), 1, "a purchase is sent once");
    assert!(!format!("{answer:?}").contains(KEY), "{answer:?}");
    answer
}

fn code(answer: &PurchaseAnswer) -> &str {
    match answer {
        PurchaseAnswer::Bought { .. } => "BOUGHT",
        PurchaseAnswer::NoStock { .. } => "NO_STOCK",
        PurchaseAnswer::Refused { code, .. } => code,
        PurchaseAnswer::Unknown { .. } => "UNKNOWN",
    }
}

#[tokio::test]
async fn an_order_names_its_zone_customer_count_and_lower_case_country() {
    let server = Server::plays([json(200, r#"{"ips":["203.0.113.9"],"new_ips":["203.0.113.9"]}"#)]).await;
    server.client.buy(order(), LONG).await;
    let seen = server.seen().remove(0);
    assert_eq!(seen.line, "POST /zone/ips HTTP/1.1");
    assert!(seen.head.contains(&format!("authorization: Bearer {KEY}")), "{}", seen.head);
    assert_eq!(seen.body, json!({"customer": "hl_1", "zone": "isp", "count": 2, "country": "gb"}));
}

#[tokio::test]
async fn new_addresses_are_bought_each_once_and_only_if_they_are_addresses() {
    let body = r#"{"ips":["203.0.113.1"],"new_ips":["203.0.113.9"," 203.0.113.9","x",7,"","2001:DB8::1"]}"#;
    for status in [200, 201] {
        let PurchaseAnswer::Bought { new_ips } = bought(json(status, body)).await else { panic!("not bought") };
        assert_eq!(new_ips, ["203.0.113.9", "2001:db8::1"]);
    }
}

#[tokio::test]
async fn a_chunked_answer_is_read_to_its_end() {
    let body = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                f\r\n{\"new_ips\":[\"20\r\ne\r\n3.0.113.9\"]}  \r\n0\r\n\r\n";
    let answer = bought(Act::Say(body.into())).await;
    assert_eq!(answer, PurchaseAnswer::Bought { new_ips: vec!["203.0.113.9".into()] });
}

#[tokio::test]
async fn a_success_that_names_nothing_new_proves_nothing() {
    let bodies = [
        r#"{"ips":["203.0.113.1"],"new_ips":[]}"#,
        r#"{"ips":["203.0.113.1"]}"#,
        r#"{"new_ips":"203.0.113.9"}"#,
        r#"{"new_ips":["not an address"]}"#,
        r#"{"error":{"code":"no_stock","message":"No IPs available"}}"#,
        "[]",
        "null",
        "",
        "<html>OK</html>",
        "{\"new_ips\":[\"203.0.113.9\"",
    ];
    for body in bodies {
        let answer = bought(json(200, body)).await;
        assert_eq!(code(&answer), "UNKNOWN", "{body}: {answer:?}");
    }
    let failed = with_headers(200, "x-brd-err-code: client_10110\r\n", r#"{"new_ips":["203.0.113.9"]}"#);
    let PurchaseAnswer::Unknown { reason } = bought(failed).await else { panic!("not unknown") };
    assert!(reason.contains("client_10110"), "{reason}");
}

#[tokio::test]
async fn each_refusal_has_its_code() {
    let rows = [
        (400, "No IPs available", "NO_STOCK"),
        (400, "NOT ENOUGH available IPs for your request", "NO_STOCK"),
        (400, r#"{"error":{"code":"x","message":"Out of stock","alternatives":[]}}"#, "NO_STOCK"),
        (422, r#"{"message":"no proxies left in de"}"#, "NO_STOCK"),
        (400, "Wrong zone plan", "PROVIDER_REFUSED"),
        (400, "", "PROVIDER_REFUSED"),
        (404, "Not Found", "PROVIDER_REFUSED"),
        (400, "Not enough funds", "PROVIDER_BALANCE"),
        (402, "", "PROVIDER_BALANCE"),
        (403, "Account is suspended", "PROVIDER_BALANCE"),
        (401, "Unauthorized", "PROVIDER_AUTH"),
        (403, r#"{"error":"Your API key lacks the required permissions for this action: balance"}"#, "PROVIDER_AUTH"),
        (403, "Please add IP in the allow list first", "PROVIDER_IP_NOT_ALLOWLISTED"),
        (429, "Too Many Requests", "PROVIDER_RATE_LIMITED"),
    ];
    for (status, text, expected) in rows {
        let answer = bought(json(status, text)).await;
        assert_eq!(code(&answer), expected, "{status} {text}: {answer:?}");
    }
    let limited = bought(with_headers(429, "retry-after: 7\r\n", "slow down")).await;
    assert!(format!("{limited:?}").contains("429: slow down (try again in 7 s)"), "{limited:?}");
}

#[tokio::test]
async fn what_may_have_been_done_is_unknown() {
    for status in [303, 307, 408, 409, 425, 499, 500, 502, 503, 504] {
        let answer = bought(with_headers(status, "location: /elsewhere\r\n", "No IPs available")).await;
        assert_eq!(code(&answer), "UNKNOWN", "{status}: {answer:?}");
    }
    for lost in ["", "HTTP/1.1 200", "garbage\r\n\r\n"] {
        let answer = bought(Act::Say(lost.into())).await;
        assert_eq!(code(&answer), "UNKNOWN", "{lost:?}: {answer:?}");
    }
    let truncated = "HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{\"new_ips\":[\"203.0.113.9\"]}";
    let PurchaseAnswer::Unknown { reason } = bought(Act::Say(truncated.into())).await else { panic!("not unknown") };
    assert!(reason.contains("broke off"), "{reason}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_unknown() {
    let short = Duration::from_millis(100);
    let silent = bought_within(Act::SayAndHang(Vec::new()), short).await;
    assert_eq!(code(&silent), "UNKNOWN", "{silent:?}");
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"new_ips\":[".to_vec();
    let slow = bought_within(Act::SayAndHang(half), short).await;
    assert_eq!(code(&slow), "UNKNOWN", "{slow:?}");
    let refused = b"HTTP/1.1 400 X\r\ncontent-length: 99\r\n\r\nNo IPs available".to_vec();
    let refused = bought_within(Act::SayAndHang(refused), short).await;
    assert_eq!(code(&refused), "NO_STOCK", "{refused:?}");
}

#[tokio::test]
async fn a_huge_answer_is_dropped_at_its_bound() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_vec();
    let answer = bought(Act::SayForever(head, vec![b' '; 65_536])).await;
    let PurchaseAnswer::Unknown { reason } = answer else { panic!("not unknown") };
    assert!(reason.contains("too large"), "{reason}");
}

#[tokio::test]
async fn what_was_never_sent_bought_nothing() {
    let answer = nobody().await.buy(order(), LONG).await;
    assert_eq!(code(&answer), "PROVIDER_UNAVAILABLE", "{answer:?}");

    let server = Server::plays([]).await;
    let late = server.client.buy(order(), Duration::ZERO).await;
    assert_eq!(code(&late), "PROVIDER_UNAVAILABLE", "{late:?}");
    for wrong in
        [BuyOrder { count: 0, ..order() }, BuyOrder { count: 1001, ..order() }, BuyOrder { zone: "".into(), ..order() }]
    {
        let answer = server.client.buy(wrong, LONG).await;
        assert_eq!(code(&answer), "PROVIDER_REFUSED", "{answer:?}");
    }
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn no_words_of_the_provider_bring_the_key_back() {
    let echo = bought(json(401, &format!("Unknown API key {KEY}\n\u{7}{}", "x".repeat(1000)))).await;
    let PurchaseAnswer::Refused { reason, .. } = &echo else { panic!("{echo:?}") };
    assert!(reason.starts_with("401: Unknown API key [key] xxx"), "{reason}");
    assert!(reason.len() < 400, "{} bytes", reason.len());
    let client = BrightData::new("https://api.brightdata.com", "hl_1", KEY.to_owned().into()).unwrap();
    assert!(!format!("{client:?}").contains(KEY));
}
