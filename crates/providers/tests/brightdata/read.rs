use std::time::Duration;

use tollgate_domain::country::Country;
use tollgate_domain::money::Money;
use tollgate_providers::{AccountStatus, Balance, Listed, ProxyMarket};

use crate::server::{Act, LONG, Server, json, nobody, with_headers};

fn gb() -> Country {
    Country::parse("gb").unwrap()
}

#[tokio::test]
async fn a_list_tolerates_countries_that_it_does_not_know() {
    let body = r#"{"ips":[
        {"ip":"203.0.113.1","maxmind":"gb","ext":{"dbip":"ie"}},
        {"ip":"203.0.113.2","maxmind":"XX"}, {"ip":"203.0.113.3"}, {"ip":"203.0.113.4","maxmind":null}, "203.0.113.5"
    ]}"#;
    let server = Server::plays([json(200, body)]).await;
    let listed = server.client.list("isp", LONG).await.unwrap();
    assert_eq!(listed[0], Listed { ip: "203.0.113.1".into(), country: Some(gb()) });
    assert_eq!(listed.iter().filter(|l| l.country.is_none()).count(), 4);
    assert_eq!(server.seen()[0].line, "GET /zone/ips?zone=isp HTTP/1.1");
}

#[tokio::test]
async fn a_list_that_cannot_be_read_whole_is_no_list() {
    for body in ["", "[]", "{}", r#"{"ips":["any"]}"#, r#"{"ips":[{"ip":"203.0.113.1"},{"vip":"v1"}]}"#] {
        let server = Server::plays([json(200, body)]).await;
        let error = server.client.list("isp", LONG).await.unwrap_err();
        assert_eq!(error.code, "PROVIDER_UNAVAILABLE", "{body}");
        assert!(error.reason.contains("cannot read"), "{error}");
    }
}

#[tokio::test]
async fn a_rotating_zone_is_named_as_such() {
    let server = Server::plays([json(400, "Wrong zone plan")]).await;
    let error = server.client.list("residential", LONG).await.unwrap_err();
    assert_eq!(error.code, "PROVIDER_REFUSED");
    assert!(error.reason.contains("the zone rotates") && error.reason.contains("Wrong zone plan"), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_read_is_repeated_twice_when_the_failure_may_pass() {
    let broken = || Act::Say(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_vec());
    let server = Server::plays([json(502, ""), Act::Say(Vec::new()), json(200, r#"{"ips":[]}"#)]).await;
    assert_eq!(server.client.list("isp", LONG).await.unwrap(), []);
    let server = Server::plays([broken(), json(408, ""), broken()]).await;
    let error = server.client.list("isp", LONG).await.unwrap_err();
    assert_eq!(error.to_string(), "PROVIDER_UNAVAILABLE: the answer broke off");
    assert_eq!(server.seen().len(), 3);
    for act in [json(401, ""), json(403, ""), json(302, ""), json(404, "")] {
        let server = Server::plays([act]).await;
        server.client.list("isp", LONG).await.unwrap_err();
        assert_eq!(server.seen().len(), 1);
    }
    assert_eq!(nobody().await.list("isp", LONG).await.unwrap_err().code, "PROVIDER_UNAVAILABLE");
}

#[tokio::test]
async fn a_rate_limit_is_waited_for_only_within_the_time_given() {
    let server = Server::plays([with_headers(429, "retry-after: 0\r\n", ""), json(200, r#"{"ips":[]}"#)]).await;
    server.client.list("isp", LONG).await.unwrap();
    let server = Server::plays([with_headers(429, "retry-after: 60\r\n", "slow down")]).await;
    let error = server.client.list("isp", LONG).await.unwrap_err();
    assert_eq!(error.to_string(), "PROVIDER_RATE_LIMITED: 429: slow down");
    assert_eq!(server.seen().len(), 1);

    let server = Server::plays([Act::SayAndHang(Vec::new())]).await;
    let error = server.client.list("isp", Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(error.code, "PROVIDER_UNAVAILABLE");
}

#[tokio::test]
async fn a_list_without_end_is_dropped_and_not_asked_for_again() {
    let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let server = Server::plays([Act::SayForever(head, vec![b' '; 65_536])]).await;
    let error = server.client.list("isp", Duration::from_secs(60)).await.unwrap_err();
    assert_eq!(error.reason, "the answer is too large");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn stock_is_counted_under_either_path_and_in_the_pool_of_the_zone() {
    let server = Server::plays([json(200, r#"{"count":1234}"#)]).await;
    assert_eq!(server.client.count_available("isp", gb(), LONG).await.unwrap(), 1234);
    let line = &server.seen()[0].line;
    assert!(line.starts_with("GET /zone/count_available_ips?plan="), "{line}");
    assert!(line.contains("static_res") && line.contains("%22gb%22"), "{line}");

    let server = Server::plays([json(404, ""), json(200, r#"{"count":0}"#)]).await;
    assert_eq!(server.client.count_available("isp", gb(), LONG).await.unwrap(), 0);
    assert!(server.seen()[1].line.starts_with("GET /count_available_ips?plan="));

    let Server { client, .. } = Server::plays([json(200, r#"{"count":"many"}"#)]).await;
    let error = client.datacenter().count_available("dc", gb(), LONG).await.unwrap_err();
    assert!(error.reason.contains("`count`"), "{error}");
}

#[tokio::test]
async fn a_datacenter_zone_counts_in_its_own_pool() {
    let mut server = Server::plays([json(200, r#"{"count":3}"#)]).await;
    server.client = server.client.datacenter();
    assert_eq!(server.client.count_available("dc", gb(), LONG).await.unwrap(), 3);
    assert!(!server.seen()[0].line.contains("static_res"));
}

#[tokio::test]
async fn costs_are_this_months_in_millionths() {
    let rows = [
        (r#"{"hl_1":{"back_m0":{"bw":1,"cost":0.6772},"back_m1":{"cost":9}}}"#, Some(677_200)),
        (r#"{"c_other_spelling":{"back_m0":{"cost":4}}}"#, Some(4_000_000)),
        (r#"{"hl_1":{"back_m0":{"bw":1}}}"#, Some(0)),
        ("{}", Some(0)),
        (r#"{"hl_1":{"back_m0":{"cost":-1}}}"#, None),
        (r#"{"hl_1":{"back_m0":{"cost":"free"}}}"#, None),
        ("[]", None),
    ];
    for (body, expected) in rows {
        let server = Server::plays([json(200, body)]).await;
        let cost = server.client.cost("isp", LONG).await.ok();
        assert_eq!(cost, expected.map(Money::usd_micros), "{body}");
        assert_eq!(server.seen()[0].line, "GET /zone/cost?zone=isp HTTP/1.1");
    }
}

#[tokio::test]
async fn balance_and_status_are_read_in_both_documented_shapes() {
    for (body, pending_micros) in [
        (r#"{"balance":-12.5,"pending_balance":3}"#, 3_000_000),
        (r#"{"balance":-12.5,"credit":0,"prepayment":1,"pending_costs":0.25}"#, 250_000),
        (r#"{"balance":-12.5}"#, 0),
    ] {
        let server = Server::plays([json(200, body)]).await;
        let balance = server.client.balance(LONG).await.unwrap();
        assert_eq!(balance, Balance { micros: -12_500_000, pending_micros }, "{body}");
    }
    let server = Server::plays([json(200, "{}")]).await;
    assert!(server.client.balance(LONG).await.unwrap_err().reason.contains("`balance`"));

    for (body, word, usable) in [
        (r#"{"status":"active","customer":"Some Ltd","can_make_requests":true}"#, "active", true),
        (r#"{"status":"suspended"}"#, "suspended", false),
    ] {
        let server = Server::plays([json(200, body)]).await;
        let status = server.client.status(LONG).await.unwrap();
        assert_eq!(status, AccountStatus { word: word.into(), usable });
    }
    let server = Server::plays([json(200, "[]")]).await;
    assert!(server.client.status(LONG).await.is_err());
}
