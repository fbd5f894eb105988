use std::time::Duration;

use serde_json::json;
use tollgate_providers::{ProxyMarket, ReleaseAnswer};

use crate::server::{Act, LONG, Server, json, nobody, with_headers};

const TWO: &str = r#"{"ips":[{"ip":"203.0.113.1","maxmind":"gb"},{"ip":"203.0.113.2","maxmind":"gb"}]}"#;
const ONE: &str = r#"{"ips":[{"ip":"203.0.113.2","maxmind":"gb"}]}"#;

fn ips() -> Vec<String> {
    vec!["203.0.113.1".into(), "203.0.113.2".into()]
}

fn reason(answer: ReleaseAnswer) -> String {
    match answer {
        ReleaseAnswer::Gone => "gone".into(),
        ReleaseAnswer::Retry { reason, .. } => reason,
    }
}

#[tokio::test]
async fn a_release_names_the_zone_and_exactly_the_addresses() {
    for body in [r#"{"ips":[]}"#, r#"{"ips":["203.0.113.1"]}"#, "", "<html>"] {
        let server = Server::plays([json(200, body)]).await;
        assert_eq!(server.client.release("isp", &ips(), LONG).await, ReleaseAnswer::Gone, "{body}");
        let seen = server.seen().remove(0);
        assert_eq!(seen.line, "DELETE /zone/ips HTTP/1.1");
        assert_eq!(seen.body, json!({"zone": "isp", "ips": ["203.0.113.1", "203.0.113.2"]}));
    }
}

#[tokio::test]
async fn what_would_mean_every_address_is_never_sent() {
    let server = Server::plays([]).await;
    assert_eq!(server.client.release("isp", &[], LONG).await, ReleaseAnswer::Gone);
    assert!(reason(server.client.release("", &ips(), LONG).await).contains("not sent"));
    assert!(reason(server.client.release("isp", &["all".into()], LONG).await).contains("not sent"));
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn already_gone_is_success_once_the_list_agrees() {
    for (status, text) in [(404, ""), (400, "IP 203.0.113.1 not found in zone"), (400, "ip_requested_not_allocated")] {
        let server = Server::plays([json(status, text), json(200, r#"{"ips":[]}"#)]).await;
        assert_eq!(server.client.release("isp", &ips(), LONG).await, ReleaseAnswer::Gone, "{status} {text}");
        assert_eq!(server.seen()[1].line, "GET /zone/ips?zone=isp HTTP/1.1");
    }
}

#[tokio::test]
async fn one_that_is_gone_does_not_keep_the_others_on_the_bill() {
    let gone = || json(400, "IP 203.0.113.1 not found in zone");
    let server = Server::plays([gone(), json(200, ONE), json(200, "{}")]).await;
    assert_eq!(server.client.release("isp", &ips(), LONG).await, ReleaseAnswer::Gone);
    assert_eq!(server.seen()[2].body, json!({"zone": "isp", "ips": ["203.0.113.2"]}));

    let server = Server::plays([gone(), json(200, ONE), json(500, "boom")]).await;
    assert_eq!(reason(server.client.release("isp", &ips(), LONG).await), "500: boom");
}

#[tokio::test]
async fn a_404_that_the_list_contradicts_is_tried_again() {
    let server = Server::plays([json(404, "Not Found"), json(200, TWO)]).await;
    assert_eq!(reason(server.client.release("isp", &ips(), LONG).await), "404: Not Found; but its list holds them");

    let server = Server::plays([json(404, ""), json(400, "Zone not found")]).await;
    let said = reason(server.client.release("isp", &ips(), LONG).await);
    assert!(said.contains("404; and its list cannot be read") && said.contains("Zone not found"), "{said}");
}

#[tokio::test]
async fn everything_else_is_tried_again_when_the_provider_says() {
    let server = Server::plays([with_headers(429, "retry-after: 30\r\n", "slow")]).await;
    let answer = server.client.release("isp", &ips(), LONG).await;
    let retry_after = Some(Duration::from_secs(30));
    assert_eq!(answer, ReleaseAnswer::Retry { reason: "429: slow".into(), retry_after });

    for act in [json(500, ""), json(401, "no"), json(400, "Wrong zone plan"), Act::Say(Vec::new())] {
        let server = Server::plays([act]).await;
        assert_ne!(server.client.release("isp", &ips(), LONG).await, ReleaseAnswer::Gone);
        assert_eq!(server.seen().len(), 1);
    }
    let failed = with_headers(200, "x-brd-error-code: client_10020\r\n", "");
    let server = Server::plays([failed]).await;
    assert_eq!(reason(server.client.release("isp", &ips(), LONG).await), "200: client_10020");
    assert_ne!(nobody().await.release("isp", &ips(), LONG).await, ReleaseAnswer::Gone);
}
