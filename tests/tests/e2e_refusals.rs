//! Bad input and failures, as clients of the edge and of the API see them.

#![allow(clippy::unwrap_used)] // all of this is a test: to fail is to tell

use tollgate_tests::local_run::{Curl, LocalRun, curl};
use tollgate_tests::raw_proxy::{Answer, RawProxy, basic};

/// Sends a head to the gateway of `run` and reads the answer.
fn ask(run: &LocalRun, head: &str) -> Answer {
    let mut proxy = RawProxy::connect(run.addr("gateway"));
    proxy.send(head.as_bytes());
    proxy.answer()
}

/// `CONNECT` to the origin as `user`.
fn connect(run: &LocalRun, user: &str, password: &str) -> Answer {
    let auth = basic(user, password);
    ask(run, &format!("CONNECT origin.test:80 HTTP/1.1\r\nHost: origin.test:80\r\nProxy-Authorization: {auth}\r\n\r\n"))
}

/// The answer refuses with this status and code, in the form that every refusal of the edge has.
#[track_caller]
fn refuses(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("x-tollgate-error"), Some(code.to_ascii_lowercase().as_str()), "{answer:?}");
    assert!(answer.header("proxy-status").is_some_and(|v| v.contains("error=")), "{answer:?}");
    let body = String::from_utf8_lossy(&answer.body);
    assert!(body.contains("how_to_fix") || body.contains("How to fix"), "it says what to do: {body}");
}

#[track_caller]
fn api_refuses(answer: &Curl, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let error = &answer.json()["error"];
    assert_eq!(error["code"], code, "{answer:?}");
    assert!(error["how_to_fix"].as_str().is_some_and(|t| !t.is_empty()), "{answer:?}");
    assert!(error["correlation_id"].as_str().is_some_and(|t| !t.is_empty()), "{answer:?}");
}

#[test]
fn the_edge_refuses_bad_input_with_a_code_and_a_way_to_fix_it_and_leaves_no_trace() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(temp.path());
    let password = run.password().to_owned();

    refuses(&connect(&run, "demo-line-a-country-nl", "wrong"), 407, "AUTH_FAILED");
    refuses(&connect(&run, "nobody", &password), 407, "AUTH_FAILED");
    refuses(&ask(&run, "CONNECT origin.test:80 HTTP/1.1\r\nHost: origin.test:80\r\n\r\n"), 407, "AUTH_REQUIRED");

    let long = format!("demo-line-{}-country-nl", "x".repeat(300));
    for user in [
        "demo-line",
        "demo-line-",
        "demo-colour-red",
        "demo-line-a-line-b",
        "demo-line-a-session-s1",
        "demo-line-a!-country-nl",
        "demo-life-0",
        "demo-type-carrier_pigeon",
        long.as_str(),
    ] {
        refuses(&connect(&run, user, &password), 400, "USERNAME_INVALID");
    }
    for user in ["demo-country-zz", "demo-line-a-country-xx", "demo-country-belgium"] {
        let answer = connect(&run, user, &password);
        refuses(&answer, 400, "COUNTRY_UNKNOWN");
    }

    let auth = basic("demo-line-a-country-nl", &password);
    let to = |target: &str| {
        ask(&run, &format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: {auth}\r\n\r\n"))
    };
    refuses(&to("origin.test"), 400, "REQUEST_INVALID");
    refuses(&to("127.0.0.1:80"), 403, "DEST_BLOCKED");
    refuses(&to("169.254.169.254:80"), 403, "DEST_BLOCKED");
    refuses(&to("mail.example:25"), 403, "DEST_BLOCKED");

    let huge = format!("GET http://origin.test/ip HTTP/1.1\r\nHost: origin.test\r\nX: {}\r\n\r\n", "y".repeat(1 << 20));
    refuses(&ask(&run, &huge), 431, "HEADER_TOO_LARGE");

    let lines = run.customer_api("GET", "/v1/assignments", None).json();
    assert_eq!(lines["assignments"], serde_json::json!([]), "a refusal leaves no line");
    let sold = run.sandbox_state("ledger");
    assert_eq!(sold["rows"], serde_json::json!([]), "a refusal buys nothing");
    let usage = run.customer_api("GET", "/v1/me/usage", None).json();
    assert!(!usage.to_string().contains("origin"), "{usage}");
}

#[test]
fn a_line_keeps_the_country_and_the_type_it_was_made_for() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(temp.path());
    let password = run.password().to_owned();
    assert_eq!(connect(&run, "demo-line-a-country-be", &password).status, 200);
    refuses(&connect(&run, "demo-line-a-country-nl", &password), 409, "LINE_MISMATCH");
    refuses(&connect(&run, "demo-line-a-country-be-type-mobile", &password), 409, "LINE_MISMATCH");
    assert_eq!(connect(&run, "demo-line-a-country-be", &password).status, 200, "the line itself is untouched");
}

#[test]
fn nothing_to_be_had_is_503_and_a_dead_upstream_is_502() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(temp.path());
    let password = run.password().to_owned();
    assert_eq!(connect(&run, "demo-line-a-country-nl", &password).status, 200);
    run.sandbox("gateway", r#"{"down":true}"#);
    refuses(&connect(&run, "demo-line-a-country-nl", &password), 502, "UPSTREAM_CONNECT");
    run.sandbox("gateway", r#"{"down":false}"#);
    assert_eq!(connect(&run, "demo-line-a-country-nl", &password).status, 200, "it recovers by itself");

    let stock = run.sandbox_state("stock");
    for country in stock.as_object().unwrap().keys() {
        run.sandbox("stock", &format!(r#"{{"country":"{country}","count":0}}"#));
    }
    let none = connect(&run, "demo-line-b-country-lu", &password);
    refuses(&none, 503, "NO_PROXY_AVAILABLE");
    assert!(none.header("retry-after").is_some(), "{none:?}");
}

#[test]
fn a_provider_that_cannot_be_reached_is_503_and_the_api_lives_on() {
    let temp = tempfile::tempdir().unwrap();
    // A port that was free a moment ago: nobody listens there.
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{dead}");
    let vars = [
        ("USE_PROXY", "true"),
        ("BRIGHT_DATA_CUSTOMER_ID", "c_1"),
        ("BRIGHT_DATA_ZONE", "isp"),
        ("BRIGHT_DATA_ZONE_PASSWORD", "EXAMPLE-password"),
        ("BRIGHT_DATA_API_KEY", "EXAMPLE-key"),
        ("BRIGHT_DATA_API_URL", url.as_str()),
        ("BRIGHT_DATA_HOST", "127.0.0.1"),
    ];
    let run = LocalRun::start_with(temp.path(), &[], &vars);
    assert!(run.banner.contains("REAL"), "{}", run.banner);
    assert!(!run.banner.contains("EXAMPLE-"), "credentials of the environment are not printed");
    let answer = connect(&run, "demo-line-a-country-nl", run.password());
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("x-tollgate-error").is_some() && answer.header("retry-after").is_some(), "{answer:?}");
    assert_eq!(run.customer_api("GET", "/v1/me", None).status, 200);
    let kept = std::fs::read_to_string(temp.path().join("secrets.json")).unwrap();
    assert!(!kept.contains("EXAMPLE-"), "credentials of the environment are not written down");
}

#[test]
fn the_api_refuses_bad_input_in_one_envelope() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(temp.path());
    api_refuses(&run.api("GET", "/v1/me", &[], None), 401, "UNAUTHENTICATED");
    api_refuses(&run.api("GET", "/v1/me", &["Authorization: Bearer wrong"], None), 401, "UNAUTHENTICATED");
    api_refuses(&run.api("GET", "/admin/users", &["X-Admin-API-Key: wrong"], None), 401, "UNAUTHENTICATED");
    api_refuses(&run.customer_api("GET", "/v1/nowhere", None), 404, "NOT_FOUND");
    api_refuses(&run.customer_api("PATCH", "/v1/me", None), 405, "METHOD_NOT_ALLOWED");
    for body in ["not json", "[]", r#"{"line":7}"#, r#"{"line":"a b"}"#, "{}"] {
        api_refuses(&run.customer_api("POST", "/v1/assignments", Some(body)), 400, "VALIDATION");
    }
    let unknown = r#"{"line":"a","country":"zz"}"#;
    api_refuses(&run.customer_api("POST", "/v1/assignments", Some(unknown)), 400, "COUNTRY_UNKNOWN");
}

#[test]
fn an_idempotency_key_gives_the_same_answer_or_422() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(temp.path());
    let auth = format!("Authorization: Bearer {}", run.key("customer key"));
    let post = |body| run.api("POST", "/v1/assignments", &[&auth, "Idempotency-Key: once"], Some(body));
    let first = post(r#"{"line":"a","country":"be"}"#);
    assert_eq!(first.status, 200, "{first:?}");
    let again = post(r#"{"line":"a","country":"be"}"#);
    assert_eq!((again.status, again.json()), (200, first.json()));
    api_refuses(&post(r#"{"line":"b","country":"be"}"#), 422, "IDEMPOTENCY_MISMATCH");
    let url = first.json()["url"].as_str().map(str::to_owned);
    if let Some(url) = url {
        assert_eq!(curl(&["-x", &url, "http://origin.test/ip"]).status, 200, "the URL that the API gives works");
    }
}
