use std::net::SocketAddr;

use tollgate_domain::time::Clock as _;
use tollgate_sandbox::{Sandbox, SandboxError};

use crate::support::{HOUR, World, config};

#[tokio::test]
async fn a_state_file_carries_addresses_and_books_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let start = async |clock: Option<std::sync::Arc<crate::support::TestClock>>| {
        let (fresh, mut config) = config();
        let clock = clock.unwrap_or(fresh);
        config.clock = clock.clone();
        config.state_file = Some(dir.path().join("sandbox.json"));
        config.billing = tollgate_sandbox::BillingPeriod::Hour;
        World { clock, sandbox: Sandbox::start(config).await.unwrap() }
    };
    let w = start(None).await;
    let (kept, released) = (w.bought("nl").await, w.bought("de").await);
    w.release(released).await;
    let clock = w.clock.clone();
    // No orderly end: the file is always as good as the last answer.
    drop(w);

    let w = start(Some(clock)).await;
    assert_eq!(w.sandbox.held(), [(kept, "nl".to_owned())]);
    assert_eq!((w.sandbox.stock("nl"), w.sandbox.stock("de")), (4, 2));
    assert_eq!(w.sandbox.purchases().len(), 2);
    w.clock.advance(HOUR);
    let charges: Vec<_> = w.sandbox.ledger(w.clock.now()).iter().map(|r| r.charges.len()).collect();
    assert_eq!(charges, [2, 1]);
    assert_ne!(w.bought("nl").await, kept);
}

#[tokio::test]
async fn a_start_that_makes_no_sense_is_refused_with_the_reason() {
    let refused = async |change: &dyn Fn(&mut tollgate_sandbox::SandboxConfig)| {
        let (_, mut config) = config();
        change(&mut config);
        Sandbox::start(config).await.expect_err("a refusal").to_string()
    };
    let public: SocketAddr = "0.0.0.0:0".parse().unwrap();
    assert!(refused(&|c| c.bind.api = public).await.contains("loopback only"));
    assert!(refused(&|c| c.stock = [("NL".to_owned(), 1)].into()).await.contains("lower-case"));
    assert!(refused(&|c| c.zone = "with-hyphen".into()).await.contains("grammar"));
    assert!(refused(&|c| c.api_key = "".into()).await.contains("not empty"));

    let (_, config_a) = config();
    let running = Sandbox::start(config_a).await.unwrap();
    let taken = running.gateway_addr();
    assert!(refused(&|c| c.bind.gateway = taken).await.contains(&taken.to_string()));

    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken.json");
    std::fs::write(&broken, "{").unwrap();
    assert!(refused(&|c| c.state_file = Some(broken.clone())).await.contains("broken.json"));
    running.shutdown().await;

    let (_, mut again) = config();
    again.bind.gateway = taken;
    let result = Sandbox::start(again).await;
    assert!(!matches!(result, Err(SandboxError::Bind { .. })), "the port is free after a shutdown");
}

#[tokio::test]
async fn secrets_do_not_show_in_a_configuration() {
    let (_, config) = config();
    let shown = format!("{config:?}");
    assert!(shown.contains("isp_sandbox") && !shown.contains(crate::support::KEY));
}
