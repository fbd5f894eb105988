//! Buckets ahead of their period, and the figures of the inventory.

use tollgate_domain::budget::{Bucket, UNLIMITED};
use tollgate_domain::money::{GB, MB};
use tollgate_domain::plan::Limits;
use tollgate_functions::create_budgets::{BudgetRun, create_budgets, ensure_budgets};
use tollgate_functions::metrics::proxy_metrics;
use tollgate_sandbox::{Call, Fault};

use crate::support::{PRICE, Rig};

async fn buckets(rig: &Rig, customer: &str) -> Vec<(Bucket, u64)> {
    let all = rig.store().allowances(&customer.parse().unwrap()).await.unwrap();
    all.into_iter().map(|(b, a)| (b, a.granted)).collect()
}

#[tokio::test]
async fn every_customer_has_a_bucket_before_its_period_begins() {
    let rig = Rig::new().await;
    rig.customer("small", Limits { quota_bytes: Some(100 * MB), ..Limits::default() }).await;
    rig.customer("gone", Limits::default()).await;
    rig.edit_customer("gone", |c| c.deleted_at = c.created_at.into()).await;
    let run = create_budgets(&rig.platform).await.unwrap();
    assert_eq!(run, BudgetRun { customers: 2, granted: 2, failed: 0 });
    let march = rig.now().month_start();
    assert_eq!(buckets(&rig, "small").await, [(Bucket::Plan { start: march }, 100 * MB)]);
    assert_eq!(buckets(&rig, "demo").await, [(Bucket::Unlimited { start: march }, UNLIMITED)]);
    assert_eq!(buckets(&rig, "gone").await, []);
    assert_eq!(create_budgets(&rig.platform).await.unwrap().granted, 0, "once");

    // Three days before April its buckets are made; in April they are there.
    rig.clock.forward_secs(18 * 86_400);
    assert_eq!(create_budgets(&rig.platform).await.unwrap().granted, 0);
    rig.clock.forward_secs(86_400);
    assert_eq!(create_budgets(&rig.platform).await.unwrap().granted, 2);
    let april = march.next_month_start();
    assert!(buckets(&rig, "small").await.contains(&(Bucket::Plan { start: april }, 100 * MB)));
    rig.clock.forward_secs(3 * 86_400);
    assert_eq!(create_budgets(&rig.platform).await.unwrap().granted, 0);
}

#[tokio::test]
async fn a_larger_plan_adds_what_it_has_more() {
    let rig = Rig::new().await;
    let id = rig.customer("small", Limits { quota_bytes: Some(100 * MB), ..Limits::default() }).await;
    create_budgets(&rig.platform).await.unwrap();
    rig.edit_customer("small", |c| c.limits.quota_bytes = Some(GB)).await;
    let customer = rig.store().customer(&id).await.unwrap().unwrap();
    assert_eq!(ensure_budgets(&rig.platform, &customer).await.unwrap(), 1);
    assert_eq!(ensure_budgets(&rig.platform, &customer).await.unwrap(), 0);
    let march = rig.now().month_start();
    assert_eq!(buckets(&rig, "small").await, [(Bucket::Plan { start: march }, GB)]);
    rig.edit_customer("small", |c| c.limits.quota_bytes = None).await;
    let customer = rig.store().customer(&id).await.unwrap().unwrap();
    assert_eq!(ensure_budgets(&rig.platform, &customer).await.unwrap(), 1);
    assert!(buckets(&rig, "small").await.contains(&(Bucket::Unlimited { start: march }, UNLIMITED)));
}

#[tokio::test]
async fn the_figures_say_what_is_held_where_and_what_it_costs() {
    let rig = Rig::new().await;
    rig.sandbox.set_stock("nl", 3);
    rig.sandbox.set_stock("fr", 3);
    for (line, country) in [("a", "nl"), ("b", "nl"), ("c", "fr")] {
        rig.bound(line, country).await;
    }
    rig.close("a").await;
    rig.clock.forward_secs(3600);
    rig.sandbox.faults().push(Call::Release, Fault::Status { code: 500, retry_after: None });
    rig.sweep().await;
    rig.close("c").await;
    rig.sandbox.faults().push(Call::Buy, Fault::ChargedThen500);
    assert_eq!(rig.refused("d", "nl").await, "ASSIGN_IN_PROGRESS");
    let m = proxy_metrics(&rig.platform).await.unwrap();
    assert_eq!((m.total, m.active, m.idle, m.releasing, m.unknown), (3, 1, 1, 1, 1));
    assert_eq!((m.by_country["nl"], m.by_country["fr"], m.active_by_country["nl"]), (2, 1, 1));
    assert_eq!((m.estimated_monthly_cost_micros, m.estimated_monthly_cost), (3 * PRICE, 12.0));
    let json = serde_json::to_value(&m).unwrap();
    for key in ["total", "active", "idle", "byCountry", "activeByCountry", "estimatedMonthlyCost", "recycled"] {
        assert!(!json[key].is_null(), "{key}");
    }
}
