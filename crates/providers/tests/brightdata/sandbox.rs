//! The client against the provider's books: whatever the undocumented corners and the faults
//! are, it never says that nothing was bought when something was, nor that an address is gone
//! when it is held.

use std::sync::Arc;
use std::time::Duration;

use tollgate_domain::country::Country;
use tollgate_domain::intent::PurchaseAnswer;
use tollgate_domain::money::Money;
use tollgate_domain::time::{Clock, Timestamp};
use tollgate_providers::{BrightData, BuyOrder, ProxyMarket, ReleaseAnswer};
use tollgate_sandbox::{
    AlreadyGone, BalanceFields, Call, CountPath, Dialects, Fault, NewIps, ReleaseAnswer as ReleaseBody, Sandbox,
    SandboxConfig, ShortStock, SoldOut,
};

const ZONE: &str = "isp_sandbox";
const WITHIN: Duration = Duration::from_secs(2);

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_800_000_000)
    }
}

async fn sandbox(dialects: Dialects, stock: u32) -> (Sandbox, BrightData) {
    let config = SandboxConfig::new(Arc::new(Still), "key".into(), "password".into()).with_stock("nl", stock);
    let sandbox = Sandbox::start(SandboxConfig { dialects, ..config }).await.unwrap();
    let url = format!("http://{}", sandbox.api_addr());
    let client = BrightData::new(&url, "c_sandbox", "key".into()).unwrap();
    (sandbox, client)
}

fn nl() -> Country {
    Country::parse("nl").unwrap()
}

async fn buy(client: &BrightData, count: u32) -> PurchaseAnswer {
    client.buy(BuyOrder { zone: ZONE.into(), country: nl(), count }, WITHIN).await
}

async fn own(client: &BrightData, count: u32) -> Vec<String> {
    match buy(client, count).await {
        PurchaseAnswer::Bought { new_ips } => new_ips,
        other => panic!("{other:?}"),
    }
}

/// The answer to a purchase, held against what the provider's books say of it.
async fn check(sandbox: &Sandbox, client: &BrightData, count: u32, what: &str) {
    let before = sandbox.purchases().len();
    let answer = buy(client, count).await;
    let bought: Vec<String> =
        sandbox.purchases()[before..].iter().flat_map(|p| &p.bought).map(ToString::to_string).collect();
    match &answer {
        PurchaseAnswer::Bought { new_ips } => {
            assert!(
                !bought.is_empty() && bought.iter().all(|ip| new_ips.contains(ip)),
                "{what}: {answer:?} {bought:?}"
            );
        }
        PurchaseAnswer::NoStock { .. } | PurchaseAnswer::Refused { .. } => {
            assert_eq!(bought, [""; 0], "{what}: {answer:?}, but charged");
        }
        PurchaseAnswer::Unknown { .. } => {}
    }
}

#[tokio::test]
async fn no_purchase_that_was_charged_is_called_refused() {
    let faults = [
        None,
        Some(Fault::NoStock),
        Some(Fault::Status { code: 400, retry_after: None }),
        Some(Fault::Status { code: 401, retry_after: None }),
        Some(Fault::Status { code: 429, retry_after: Some(1) }),
        Some(Fault::Status { code: 503, retry_after: None }),
        Some(Fault::ChargedButAnswerLost),
        Some(Fault::ChargedThen500),
        Some(Fault::Garbage),
        Some(Fault::Slow(WITHIN * 2)),
        Some(Fault::Hang),
    ];
    for sold_out in [SoldOut::Text400, SoldOut::EmptyNewIps, SoldOut::WithoutNewIps] {
        for (new_ips, short_stock) in [(NewIps::Exact, ShortStock::SoldOut), (NewIps::Overlapping, ShortStock::Partial)]
        {
            let dialects = Dialects { sold_out, new_ips, short_stock, ..Dialects::default() };
            let (sandbox, client) = sandbox(dialects, 40).await;
            for fault in faults {
                if let Some(fault) = fault {
                    sandbox.faults().push(Call::Buy, fault);
                }
                check(&sandbox, &client, 2, &format!("{dialects:?} {fault:?}")).await;
            }
            assert_eq!(sandbox.faults().pending(Call::Buy), 0);
            sandbox.set_stock("nl", 1);
            check(&sandbox, &client, 3, &format!("{dialects:?} one left")).await;
            sandbox.set_stock("nl", 0);
            check(&sandbox, &client, 1, &format!("{dialects:?} none left")).await;
        }
    }
}

#[tokio::test]
async fn a_plain_purchase_is_listed_costs_and_goes_back() {
    let (sandbox, client) = sandbox(Dialects::default(), 5).await;
    assert_eq!(client.count_available(ZONE, nl(), WITHIN).await.unwrap(), 5);
    let mut ips = own(&client, 2).await;
    let mut listed = client.list(ZONE, WITHIN).await.unwrap();
    assert!(listed.iter().all(|l| l.country == Some(nl())));
    listed.sort_by(|a, b| a.ip.cmp(&b.ip));
    ips.sort();
    assert_eq!(listed.into_iter().map(|l| l.ip).collect::<Vec<_>>(), ips);
    assert_eq!(client.cost(ZONE, WITHIN).await.unwrap(), Money::usd_micros(sandbox.total_charged()));
    assert_eq!(client.release(ZONE, &ips, WITHIN).await, ReleaseAnswer::Gone);
    assert!(sandbox.held().is_empty());
    assert!(matches!(buy(&client, 100).await, PurchaseAnswer::NoStock { .. }));
    assert!(client.status(WITHIN).await.unwrap().usable);
}

#[tokio::test]
async fn gone_means_gone_in_every_dialect() {
    for already_gone in [AlreadyGone::Ignored, AlreadyGone::Text400] {
        for release in [ReleaseBody::Remaining, ReleaseBody::Removed] {
            let dialects = Dialects { already_gone, release, ..Dialects::default() };
            let (sandbox, client) = sandbox(dialects, 5).await;
            let ips = own(&client, 3).await;
            assert_eq!(client.release(ZONE, &ips[..1], WITHIN).await, ReleaseAnswer::Gone, "{dialects:?}");
            // One of the three is gone already: the others still go.
            assert_eq!(client.release(ZONE, &ips, WITHIN).await, ReleaseAnswer::Gone, "{dialects:?}");
            assert!(sandbox.held().is_empty(), "{dialects:?}");
            assert_eq!(client.release(ZONE, &ips, WITHIN).await, ReleaseAnswer::Gone, "{dialects:?}");
        }
    }
}

#[tokio::test]
async fn a_release_that_failed_is_said_to_have_failed() {
    let (sandbox, client) = sandbox(Dialects::default(), 5).await;
    let ips = own(&client, 1).await;
    for code in [400, 401, 403, 404, 429, 500, 503] {
        sandbox.faults().push(Call::Release, Fault::Status { code, retry_after: Some(1) });
        let answer = client.release(ZONE, &ips, WITHIN).await;
        assert_ne!(answer, ReleaseAnswer::Gone, "{code}");
        assert_eq!(sandbox.held().len(), 1);
    }
    sandbox.faults().push(Call::Release, Fault::ChargedButAnswerLost);
    assert_ne!(client.release(ZONE, &ips, WITHIN).await, ReleaseAnswer::Gone);
    assert_eq!(client.release(ZONE, &ips, WITHIN).await, ReleaseAnswer::Gone);
}

#[tokio::test]
async fn both_spellings_of_stock_and_balance_are_understood() {
    for (count_path, balance) in [
        (CountPath::Both, BalanceFields::Documented),
        (CountPath::UnderZone, BalanceFields::Recorded),
        (CountPath::AtRoot, BalanceFields::Documented),
    ] {
        let dialects = Dialects { count_path, balance, ..Dialects::default() };
        let (_sandbox, client) = sandbox(dialects, 5).await;
        assert_eq!(client.count_available(ZONE, nl(), WITHIN).await.unwrap(), 5, "{count_path:?}");
        assert_eq!(client.balance(WITHIN).await.unwrap().micros, 1_000_000_000, "{balance:?}");
    }
}
