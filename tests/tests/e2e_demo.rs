//! `tollgate demo`: the main story, its receipt, and a receipt that follows the price.

#![allow(clippy::unwrap_used)] // all of this is a test: to fail is to tell

use std::time::{Duration, Instant};

use serde_json::Value;
use tollgate_tests::local_run::{ended, tollgate};

fn receipt(args: &[&str]) -> Value {
    let began = Instant::now();
    let run = ended(tollgate().args(["demo", "--json"]).args(args));
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    serde_json::from_str(&run.out).expect("the receipt is JSON")
}

#[test]
fn the_demo_tells_the_whole_story_and_everybody_counts_the_same() {
    let r = receipt(&[]);
    assert_eq!(r["problems"], serde_json::json!([]));
    let tunnels = &r["tunnels"];
    for who in ["edge", "simulator", "store"] {
        assert_eq!(tunnels[who], tunnels["client"], "{tunnels}");
    }
    assert!(tunnels["client"]["down"].as_u64().unwrap() > 300_000, "{tunnels}");
    assert!(tunnels["client"]["up"].as_u64().unwrap() > 100_000, "{tunnels}");

    let steps = r["steps"].as_array().unwrap();
    let first = &steps[0];
    assert_eq!((&first["asked"], &first["given"]), (&"be".into(), &"nl".into()), "{first}");
    let outcomes: Vec<_> = first["hops"]
        .as_array()
        .unwrap()
        .iter()
        .map(|h| (h["country"].as_str().unwrap(), h["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(outcomes, [("be", "no_stock"), ("nl", "bought")]);
    assert_eq!(first["hops"][0]["intent"], serde_json::json!(["planned", "calling", "failed"]));
    assert_eq!(first["hops"][1]["intent"], serde_json::json!(["planned", "calling", "confirmed"]));
    let recycled = steps.iter().find(|s| s["what"].as_str().unwrap().contains("recycled")).unwrap();
    assert_eq!(recycled["ip"], first["ip"], "the same address");

    let bill = &r["bill"];
    assert_eq!((&bill["paid_micros"], &bill["saved_micros"]), (&4_000_000.into(), &4_000_000.into()), "{bill}");
    assert_eq!(bill["ledger"].as_array().unwrap().len(), 1);
    assert!(bill["ledger"][0]["released_at"].is_string() && bill["ledger"][0]["paid_until"].is_string(), "{bill}");
}

#[test]
fn the_receipt_follows_the_price() {
    let bill = &receipt(&["--price", "8.00"])["bill"];
    for figure in ["paid_micros", "paid_later_micros", "intents_micros", "saved_micros"] {
        assert_eq!(bill[figure], 8_000_000, "{figure}: {bill}");
    }
}

#[test]
fn the_receipt_for_people_names_the_same_figures() {
    let run = ended(tollgate().arg("demo"));
    assert_eq!(run.code, Some(0), "{run:?}");
    for text in
        ["asked be, given nl", "planned → calling → confirmed", "recycling saved 4.00 USD", "Everything agrees."]
    {
        assert!(run.out.contains(text), "{text}: {}", run.out);
    }
}

#[test]
fn the_demo_does_not_play_on_somebody_elses_data() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("dynamodb.sqlite"), "").unwrap();
    let run = ended(tollgate().arg("demo").arg("--data-dir").arg(temp.path()));
    assert_eq!(run.code, Some(73), "{run:?}");
    assert!(run.err.contains("--reset"), "{run:?}");
}
