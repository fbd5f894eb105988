//! What lint does not see in `template.yaml`: keys that it would ignore, policies that are too
//! wide, functions without a binary, binaries without a function.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests too

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tollgate_tests::template::{Template, list, statements};
use tollgate_tests::workspace;

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().map(String::as_str).collect()
}

fn policies(template: &Template) -> Vec<(String, Value)> {
    let functions = template.functions();
    let mut all: Vec<_> = functions
        .iter()
        .flat_map(|(name, f)| {
            f["Properties"]["Policies"].as_array().unwrap().iter().map(|p| ((*name).into(), p.clone()))
        })
        .collect();
    for (id, policy) in template.resources("AWS::IAM::ManagedPolicy") {
        all.push((id.to_owned(), policy["Properties"]["PolicyDocument"].clone()));
    }
    all
}

#[test]
fn throttling_is_spelt_as_the_transform_reads_it() {
    let template = Template::load();
    let apis = template.resources("AWS::Serverless::HttpApi");
    assert_eq!(apis.len(), 1);
    for api in apis.values() {
        let settings = &api["Properties"]["DefaultRouteSettings"];
        // A misspelt key would be dropped in silence, and with it the limit.
        assert_eq!(keys(settings), BTreeSet::from(["ThrottlingBurstLimit", "ThrottlingRateLimit"]));
        for key in keys(settings) {
            let parameter = &template.document()["Parameters"][settings[key]["Ref"].as_str().unwrap()];
            assert!(parameter["Default"].as_u64().unwrap() > 0, "{key}");
        }
    }
}

#[test]
fn every_binary_is_a_function_and_every_function_has_its_binary() {
    let template = Template::load();
    let sources = workspace::sources(&["functions/src/bin"]);
    let binaries: BTreeSet<_> =
        sources.keys().map(|p| p.split('/').next_back().unwrap().trim_end_matches(".rs")).collect();
    assert_eq!(binaries, template.functions().into_keys().collect());
    for (binary, function) in template.functions() {
        assert_eq!(function["Metadata"]["BuildMethod"], "rust-cargolambda", "{binary}");
        let properties = &function["Properties"];
        assert_eq!(template.text(&properties["FunctionName"]), format!("tollgate-{binary}"));
        let log = properties["LoggingConfig"]["LogGroup"]["Ref"].as_str().unwrap();
        let group = &template.document()["Resources"][log]["Properties"];
        assert_eq!(template.text(&group["LogGroupName"]), format!("/tollgate/tollgate/{binary}"));
        assert_eq!(group["RetentionInDays"], json!({ "Ref": "LogRetentionDays" }));
    }
    let globals = &template.document()["Globals"]["Function"];
    assert_eq!(globals["Runtime"], "provided.al2023");
    assert_eq!(globals["Architectures"], json!([{ "Ref": "Architecture" }]));
}

#[test]
fn no_policy_has_a_star() {
    for (owner, policy) in policies(&Template::load()) {
        for statement in statements(&policy) {
            for field in ["NotAction", "NotResource", "Principal"] {
                assert!(statement[field].is_null(), "{owner} uses {field}");
            }
            for part in [&statement["Action"], &statement["Resource"]] {
                assert!(!part.is_null(), "{owner}: {statement}");
                assert!(!part.to_string().contains('*'), "{owner}: {part}");
            }
        }
    }
    let functions = Template::load();
    for (binary, function) in functions.functions() {
        for policy in function["Properties"]["Policies"].as_array().unwrap() {
            // A name would be one of AWS's or SAM's ready-made policies, all of them wider.
            assert!(policy.is_object() && !policy["Statement"].is_null(), "{binary}: {policy}");
        }
        assert!(function["Properties"]["Role"].is_null(), "{binary} shares no role");
    }
}

#[test]
fn nobody_may_change_or_delete_what_was_audited() {
    for (owner, policy) in policies(&Template::load()) {
        for statement in statements(&policy) {
            let audit =
                list(&statement["Resource"]).into_iter().any(|r| *r == json!({ "Fn::GetAtt": ["AuditTable", "Arn"] }));
            let actions: BTreeSet<_> = list(&statement["Action"]).into_iter().map(|a| a.as_str().unwrap()).collect();
            let allowed = BTreeSet::from(["dynamodb:PutItem", "dynamodb:Query", "dynamodb:GetItem"]);
            assert!(!audit || actions.is_subset(&allowed), "{owner}: {statement}");
        }
    }
}

#[test]
fn no_policy_scans() {
    for (owner, policy) in policies(&Template::load()) {
        assert!(!policy.to_string().contains("Scan"), "{owner}");
    }
}

#[test]
fn an_edge_is_held_to_its_item_families() {
    let template = Template::load();
    let edge = template.resources("AWS::IAM::ManagedPolicy")["EdgePolicy"].clone();
    let families = workspace::read("crates/store/src/keys.rs");
    for statement in statements(&edge["Properties"]["PolicyDocument"]) {
        let tables: Vec<_> = list(&statement["Resource"])
            .into_iter()
            .filter(|r| r["Fn::GetAtt"][0].as_str().is_some_and(|id| id.ends_with("Table")))
            .collect();
        if tables.is_empty() {
            continue;
        }
        // Without a leading key the condition below would hold for all of none.
        assert_eq!(statement["Condition"]["Null"]["dynamodb:LeadingKeys"], "false", "{statement}");
        let keys = &statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"];
        for key in keys.as_array().unwrap() {
            let prefix = key.as_str().unwrap().trim_end_matches('*');
            assert!(families.contains(&format!("\"{prefix}")), "{prefix} is no key of the store");
        }
        for table in tables {
            let id = table["Fn::GetAtt"][0].as_str().unwrap();
            assert!(!["BillingTable", "AuditTable"].contains(&id), "{statement}");
        }
        let writes = list(&statement["Action"])
            .into_iter()
            .any(|a| !["dynamodb:GetItem", "dynamodb:Query"].contains(&a.as_str().unwrap()));
        let owned = [
            "ALLOW#*",
            "CAP#*",
            "CHANGE#*",
            "DAY#*",
            "EDGE#*",
            "EDGES",
            "EVENT#*",
            "LATE#*",
            "LINE#*",
            "LINEDUE#*",
            "LIVE#*",
            "PROXYUSE#*",
            "SEEN#*",
            "USE#*",
        ]
        .map(Value::from);
        assert!(!writes || keys.as_array().unwrap().iter().all(|k| owned.contains(k)), "{statement}");
    }
}

#[test]
fn what_runs_by_itself_is_repeated_a_bounded_time_and_then_kept_for_people() {
    let template = Template::load();
    let mut scheduled = BTreeSet::new();
    for (binary, function) in template.functions() {
        for event in function["Properties"]["Events"].as_object().into_iter().flatten().map(|(_, e)| e) {
            if event["Type"] != "ScheduleV2" {
                continue;
            }
            scheduled.insert(binary);
            let properties = &event["Properties"];
            assert_eq!(
                keys(&properties["RetryPolicy"]),
                BTreeSet::from(["MaximumEventAgeInSeconds", "MaximumRetryAttempts"])
            );
            assert_eq!(properties["DeadLetterConfig"]["Type"], "SQS", "{binary}");
            assert!(properties["Input"].is_null(), "{binary} gets the scheduler's own event");
        }
        let config = &function["Properties"]["EventInvokeConfig"];
        if ["assign", "reconcile"].contains(&binary) {
            assert!(
                config["MaximumRetryAttempts"].as_u64().is_some()
                    && config["MaximumEventAgeInSeconds"].as_u64().is_some()
            );
            assert_eq!(config["DestinationConfig"]["OnFailure"]["Type"], "SQS", "{binary}");
        }
    }
    assert_eq!(scheduled, BTreeSet::from(["create-budgets", "expire-leases", "reconcile", "release-idle", "rollup"]));
}
