//! Whatever is sent: an answer of ours, never a 5xx, never a panic.

use http::Method;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

use crate::world::{Answer, OWNER, World};

const PATHS: [&str; 12] = [
    "/v1/assignments",
    "/v1/ips",
    "/admin/users",
    "/admin/users/demo/extend",
    "/admin/users/demo/ban",
    "/admin/users/demo/auth",
    "/admin/users/demo/kick",
    "/admin/users/demo/limits",
    "/admin/edges/e1/drain",
    "/admin/edges/e1/lost",
    "/admin/plans",
    "/admin/proxies/providers",
];

fn ours(answer: &Answer) {
    assert!(answer.status.as_u16() < 500, "{answer:?}");
    if answer.status.as_u16() >= 400 {
        let code = answer.json()["error"]["code"].clone();
        answer.refused(answer.status.as_u16(), code.as_str().unwrap());
    }
}

/// Bytes, texts, and JSON that is nearly right.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let fields = "(line|country|type|hold|name|plan|id|user|days|expiresAt|reason|code|limits|price|maxHops|net|note|mode\
                  |threads|quotaBytes|targets|sourceIp|connection|epoch|force|withinSeconds)";
    let values = "(null|true|-1|0|1e9|18446744073709551616|\"\\PC{0,12}\"|\\[\\]|\\{\\}|\"be\"|\"a\"|\"until_closed\"\
                  |\"203.0.113.0/24\"|\"::/0\")";
    let field = (fields, values).prop_map(|(f, v)| format!("\"{f}\":{v}"));
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        "\\PC{0,100}".prop_map(String::into_bytes),
        prop::collection::vec(field, 0..6).prop_map(|f| format!("{{{}}}", f.join(",")).into_bytes()),
    ]
}

#[test]
fn any_body_gets_an_answer_of_ours() {
    let runtime = Runtime::new().unwrap();
    let (w, key) = runtime.block_on(World::with_demo());
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let asked = runner.run(&(0..PATHS.len(), body()), |(path, body)| {
        let path = PATHS[path];
        let ask = if path.starts_with("/v1") { w.asks(Method::POST, path) } else { w.admin(Method::POST, path) };
        let ask = ask.key("x-api-key", &key).key("x-admin-api-key", OWNER).body(body);
        let answer = runtime.block_on(ask.send());
        // Nothing is for sale here.
        if answer.header("x-tollgate-error") != "NO_PROXY_AVAILABLE" {
            ours(&answer);
        }
        Ok(())
    });
    asked.unwrap();
}

#[test]
fn any_path_query_and_header_get_an_answer_of_ours() {
    let runtime = Runtime::new().unwrap();
    let (w, key) = runtime.block_on(World::with_demo());
    let text = || "[!-~]{0,80}";
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let asked = runner.run(
        &(0..5usize, "[A-Za-z0-9%._/-]{0,60}", "[A-Za-z0-9%&=._-]{0,60}", text(), text()),
        |(at, path, query, a, b)| {
            let prefix = ["/v1/assignments/", "/v1/proxies", "/v1/ips", "/admin/users/", "/admin/audit"][at];
            let path = format!("{prefix}{path}?{query}");
            let ask = if at < 3 { w.asks(Method::GET, &path) } else { w.admin(Method::GET, &path) };
            let ask = ask.header("x-correlation-id", &a).header("accept-language", &b).header("accept", &a);
            let ask = ask.header("idempotency-key", &b).key("x-api-key", &key).key("x-admin-api-key", OWNER);
            ours(&runtime.block_on(ask.send()));
            Ok(())
        },
    );
    asked.unwrap();
}
