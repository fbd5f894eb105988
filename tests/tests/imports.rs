//! Who may import whom.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests too

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tollgate_tests::workspace;

/// Our packages and those of ours that each may depend on, outside its tests.
const MAY: &[(&str, &[&str])] = &[
    ("tollgate-domain", &[]),
    ("tollgate-engine", &[]),
    ("tollgate-store", &["tollgate-domain"]),
    ("tollgate-providers", &["tollgate-domain"]),
    // Never providers: a simulator must not share code with the client it checks.
    ("tollgate-sandbox", &["tollgate-domain"]),
    ("tollgate-functions", &["tollgate-domain", "tollgate-store", "tollgate-providers"]),
    ("tollgate-edge", &["tollgate-domain", "tollgate-store"]),
    (
        "tollgate-local",
        &[
            "tollgate-domain",
            "tollgate-edge",
            "tollgate-engine",
            "tollgate-functions",
            "tollgate-providers",
            "tollgate-sandbox",
            "tollgate-store",
        ],
    ),
    // The tests come through the doors that users use; of the inside they know the nouns and the
    // store to seed it.
    ("tollgate-tests", &["tollgate-domain", "tollgate-engine", "tollgate-sandbox", "tollgate-store"]),
];

/// Who may know the AWS SDK.
const MAY_AWS: &[&str] = &["tollgate-store", "tollgate-engine", "tollgate-functions", "tollgate-edge"];

/// What runs on AWS or on an edge: neither the embedded engine nor a simulator is inside.
const SHIPPED: &[&str] = &["tollgate-functions", "tollgate-edge"];

/// Each workspace package's direct dependencies outside its tests.
fn direct(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let members: BTreeSet<&str> = strings(&metadata["workspace_members"]).collect();
    let packages = metadata["packages"].as_array().unwrap();
    let ours = packages.iter().filter(|p| members.contains(p["id"].as_str().unwrap()));
    ours.map(|p| {
        let dependencies = p["dependencies"].as_array().unwrap().iter().filter(|d| d["kind"] != "dev");
        let names = dependencies.map(|d| d["name"].as_str().unwrap().to_owned()).collect();
        (p["name"].as_str().unwrap().to_owned(), names)
    })
    .collect()
}

/// Everything that a package brings along outside its tests.
fn tree(metadata: &Value, package: &str) -> BTreeSet<String> {
    let names: BTreeMap<&str, &str> = (metadata["packages"].as_array().unwrap().iter())
        .map(|p| (p["id"].as_str().unwrap(), p["name"].as_str().unwrap()))
        .collect();
    let nodes: BTreeMap<&str, &Value> =
        (metadata["resolve"]["nodes"].as_array().unwrap().iter()).map(|n| (n["id"].as_str().unwrap(), n)).collect();
    let mut todo: Vec<&str> = names.iter().filter(|(_, name)| **name == package).map(|(id, _)| *id).collect();
    let mut found = BTreeSet::new();
    while let Some(id) = todo.pop() {
        if !found.insert(id) {
            continue;
        }
        for dependency in nodes[id]["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            if kinds.iter().any(|k| k["kind"] != "dev") {
                todo.push(dependency["pkg"].as_str().unwrap());
            }
        }
    }
    found.into_iter().map(|id| names[id].to_owned()).collect()
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().unwrap().iter().map(|v| v.as_str().unwrap())
}

/// A source without its comments' lines and without its in-file tests, which stand last.
fn product(source: &str) -> impl Iterator<Item = &str> {
    source
        .lines()
        .take_while(|l| !l.starts_with("#[cfg(test)]") && !l.starts_with("#![cfg(test)]"))
        .filter(|l| !l.trim_start().starts_with("//"))
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

#[test]
fn packages_depend_only_on_whom_they_may() {
    let direct = direct(&workspace::metadata());
    let listed: BTreeSet<&str> = MAY.iter().map(|(name, _)| *name).collect();
    assert_eq!(listed, direct.keys().map(String::as_str).collect(), "every package has a rule");
    for (package, may) in MAY {
        let ours = direct[*package].iter().filter(|d| d.starts_with("tollgate-"));
        let extra: Vec<_> = ours.filter(|d| !may.contains(&d.as_str())).collect();
        assert!(extra.is_empty(), "{package} may not depend on {extra:?}");
    }
}

#[test]
fn the_aws_sdk_is_known_to_store_engine_functions_and_edge_alone() {
    for (package, dependencies) in direct(&workspace::metadata()) {
        let aws: Vec<_> = dependencies.iter().filter(|d| d.starts_with("aws-")).collect();
        assert!(aws.is_empty() || MAY_AWS.contains(&package.as_str()), "{package} may not depend on {aws:?}");
    }
}

#[test]
fn neither_the_engine_nor_a_simulator_reaches_aws() {
    let metadata = workspace::metadata();
    for package in SHIPPED {
        let tree = tree(&metadata, package);
        assert!(tree.contains("aws-sdk-dynamodb"), "the tree of {package} was read");
        for kept_out in ["dynoxide-rs", "libsqlite3-sys", "tollgate-engine", "tollgate-sandbox", "tollgate-local"] {
            assert!(!tree.contains(kept_out), "{package} brings {kept_out} along");
        }
    }
}

#[test]
fn in_functions_aws_stays_in_the_wiring_and_lambda_at_the_rim() {
    for (path, source) in workspace::sources(&["functions/src"]) {
        let bin = path.starts_with("functions/src/bin/");
        let wiring = path.starts_with("functions/src/wiring");
        for line in product(&source) {
            let aws = ["aws_sdk_", "aws_config", "aws_smithy", "aws_types"].iter().any(|w| line.contains(w));
            assert!(!aws || bin || wiring, "{path}: `{}` belongs in the wiring", line.trim());
            let lambda = ["lambda_http", "lambda_runtime", "aws_lambda_events"].iter().any(|w| line.contains(w));
            let rim = bin || path == "functions/src/lambda.rs";
            assert!(!lambda || rim, "{path}: `{}` belongs in the bins or lambda.rs", line.trim());
        }
    }
}

#[test]
fn key_strings_live_in_one_module_of_the_store() {
    let keys = workspace::read("crates/store/src/keys.rs");
    let prefixes: BTreeSet<&str> = prefixes(&keys).collect();
    assert!(prefixes.contains("CUST#") && prefixes.contains("AUDIT#"), "prefixes are found: {prefixes:?}");
    let product_code = [
        "crates/domain/src",
        "crates/store/src",
        "crates/providers/src",
        "functions/src",
        "edge-proxy/src",
        "local/src",
    ];
    for (path, source) in workspace::sources(&product_code) {
        if path == "crates/store/src/keys.rs" || is_test_file(&path) {
            continue;
        }
        for line in product(&source) {
            let found = prefixes.iter().find(|p| line.contains(&format!("\"{p}")));
            assert!(found.is_none(), "{path}: `{}` spells a key", line.trim());
        }
    }
}

/// What stands between a quote and the first `#`, in capitals: `"CUST#{id}"` has `CUST#`.
fn prefixes(keys: &str) -> impl Iterator<Item = &str> {
    keys.split('"').skip(1).step_by(2).filter_map(|text| {
        let end = text.find('#')? + 1;
        (end > 2 && text[..end - 1].bytes().all(|b| b.is_ascii_uppercase())).then(|| &text[..end])
    })
}
