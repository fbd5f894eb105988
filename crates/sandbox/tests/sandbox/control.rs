use serde_json::json;
use tollgate_sandbox::{Call, SoldOut};

use crate::support::{START, world};

#[tokio::test]
async fn everything_can_be_steered_over_http() {
    let w = world().await;
    for (method, path, body) in [
        ("POST", "/sandbox/faults", r#"{"call":"buy","faults":["no_stock",{"slow_ms":1}]}"#),
        ("POST", "/sandbox/dialects", r#"{"sold_out":"empty_new_ips"}"#),
        ("POST", "/sandbox/stock", r#"{"country":"fr","count":9}"#),
        ("POST", "/sandbox/price", r#"{"micros":7}"#),
    ] {
        let answer = w.call(method, path, body).await;
        assert_eq!((answer.status, answer.text()), (200, "ok\n"), "{path}");
    }
    assert_eq!(w.sandbox.faults().pending(Call::Buy), 1);
    assert_eq!(w.sandbox.dialects().sold_out, SoldOut::EmptyNewIps);
    assert_eq!(w.get("/sandbox/dialects").await.json()["sold_out"], "empty_new_ips");
    assert_eq!(w.get("/sandbox/stock").await.json(), json!({"nl": 5, "de": 2, "fr": 9}));
    assert_eq!(w.call("DELETE", "/sandbox/faults", "").await.status, 200);
    assert_eq!(w.sandbox.faults().pending(Call::Buy), 0);

    let ip = w.bought("fr").await;
    let until = START + 30 * 86_400_000;
    assert_eq!(
        w.get("/sandbox/ledger").await.json(),
        json!({
            "now": START, "currency": "USD", "total_micros": 7,
            "rows": [{
                "ip": ip, "country": "fr", "bought_at": START, "released_at": null,
                "charges": [{"at": START, "micros": 7, "paid_until": until}],
            }],
            "purchases": [{"at": START, "country": "fr", "count": 1, "bought": [ip], "answered": "bought"}],
        })
    );

    let by_hand = w.call("POST", "/sandbox/addresses", r#"{"country":"de","count":3}"#).await.json();
    assert_eq!(by_hand["bought"].as_array().unwrap().len(), 2);
    assert_eq!((w.sandbox.purchases().len(), w.sandbox.held().len()), (1, 3));
    for taken in by_hand["bought"].as_array().unwrap() {
        let order = json!({"ip": taken}).to_string();
        assert_eq!(w.call("DELETE", "/sandbox/addresses", &order).await.status, 200);
        assert_eq!(w.call("DELETE", "/sandbox/addresses", &order).await.status, 400);
    }

    let get = format!("GET http://origin.test/bytes/10 HTTP/1.1\r\n{}Connection: close\r\n\r\n", w.auth(""));
    assert_eq!(w.proxied(&get).await.status, 200);
    let bytes = w.get("/sandbox/bytes").await.json();
    assert_eq!(bytes["up"], get.len());
    assert_eq!(bytes["rows"], json!([{"user": w.user(""), "ip": ip, "up": bytes["up"], "down": bytes["down"]}]));
}

#[tokio::test]
async fn the_gateway_can_be_steered_over_http() {
    let w = world().await;
    w.bought("nl").await;
    let set = async |body| w.call("POST", "/sandbox/gateway", body).await.status;
    assert_eq!(set(r#"{"refuse_with":"client_10110","dial_delay_ms":1}"#).await, 200);
    assert_eq!(w.tunnel("origin.test:80", "").await.1.status, 429);
    assert_eq!(set(r#"{"refuse_with":null}"#).await, 200);
    assert_eq!(w.tunnel("origin.test:80", "").await.1.status, 200);
    assert_eq!(set(r#"{"down":true}"#).await, 200);
    assert!(tokio::net::TcpStream::connect(w.sandbox.gateway_addr()).await.is_err());
    assert_eq!(set(r#"{"down":false}"#).await, 200);
    assert_eq!(w.tunnel("origin.test:80", "").await.1.status, 200);
}

#[tokio::test]
async fn wrong_orders_are_refused_and_change_nothing() {
    let w = world().await;
    for (path, body) in [
        ("/sandbox/faults", r#"{"call":"sing","faults":[]}"#),
        ("/sandbox/faults", r#"{"call":"buy","faults":["rain"]}"#),
        ("/sandbox/dialects", r#"{"sold_in":"text400"}"#),
        ("/sandbox/stock", r#"{"country":"FR","count":9}"#),
        ("/sandbox/price", r#"{"micros":-1}"#),
        ("/sandbox/gateway", r#"{"refuse_with":"client_1"}"#),
    ] {
        assert_eq!(w.call("POST", path, body).await.status, 400, "{path} {body}");
    }
    assert_eq!(w.sandbox.faults().pending(Call::Buy), 0);
    assert_eq!(w.sandbox.stock("FR"), 0);
}
