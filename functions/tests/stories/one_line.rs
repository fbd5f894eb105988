//! Several ask for one line at once; claims and releases meet.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tollgate_domain::proxy::ProxyState;
use tollgate_engine::{Faults, Rates};
use tollgate_functions::release_idle::release_idle;
use tollgate_sandbox::{Call, Fault};

use crate::support::books::{Books, none};
use crate::support::{Rig, ask, long};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn however_many_ask_for_one_line_it_is_bought_once() {
    for (askers, seed) in [(2, 1), (2, 2), (10, 3), (10, 4)] {
        let rig = Arc::new(Rig::new().await);
        rig.sandbox.set_stock("nl", 20);
        rig.sandbox.faults().push(Call::Buy, Fault::Slow(Duration::from_millis(50)));
        let faults = Faults::random(seed, Rates { conflict: 300, ..Rates::default() });
        let asking = (0..askers).map(|_| {
            let platform = rig.faulty(&faults);
            tokio::spawn(async move {
                loop {
                    match ask(&platform, "a", "nl").await {
                        Ok(a) => return a.proxy.unwrap(),
                        Err(r) => assert_eq!(r.code, "ASSIGN_IN_PROGRESS"),
                    }
                }
            })
        });
        let answers: Vec<_> = join_all(asking).await.into_iter().map(Result::unwrap).collect();
        assert!(answers.iter().all(|a| *a == answers[0]), "{answers:?}");
        assert_eq!((rig.purchases(), rig.calls()), (1, 1));
        none("one line", &Books::of(&rig).await.settled());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_idle_address_goes_to_a_claim_or_back_to_the_provider_never_both() {
    let (mut claimed, mut released) = (0, 0);
    for seed in 0..if long() { 200 } else { 8 } {
        let rig = Rig::new().await;
        rig.idle("nl", 3).await;
        let faults = Faults::random(
            seed,
            Rates { conflict: 400, delay: 300, longest_delay: Duration::from_millis(3), ..Rates::default() },
        );
        rig.clock.forward_secs(3600);
        let (asker, sweeper, other) = (rig.faulty(&faults), rig.faulty(&faults), rig.faulty(&faults));
        let ask = tokio::spawn(async move { ask(&asker, "a", "nl").await });
        let sweeps = [sweeper, other].map(|p| tokio::spawn(async move { release_idle(&p).await }));
        let answer = ask.await.unwrap();
        let swept: Vec<_> = join_all(sweeps).await.into_iter().map(|s| s.unwrap().unwrap()).collect();
        faults.stop();
        rig.clock.forward_secs(130);
        rig.sweep().await;
        let books = Books::of(&rig).await;
        let what = format!("seed {seed}: {answer:?} {swept:?}");
        none(&what, &books.settled());
        let active = books.proxies("active");
        assert_eq!((active, books.proxies("released")), (usize::from(answer.is_ok()), 3 - active), "{what}");
        assert_eq!(swept.iter().map(|s| s.released).sum::<u32>() as usize, 3 - active, "{what}");
        if answer.is_ok() { claimed += 1 } else { released += 1 }
    }
    println!("claimed {claimed}, released {released}");
}

#[tokio::test]
async fn after_an_hour_an_idle_address_is_given_back_and_costs_nothing_more() {
    let rig = Rig::new().await;
    rig.sandbox.set_stock("nl", 1);
    let proxy = rig.bound("a", "nl").await.proxy.unwrap();
    rig.close("a").await;
    rig.clock.forward_secs(3599);
    assert_eq!(rig.sweep().await, Default::default());
    rig.clock.forward_secs(1);
    let swept = rig.sweep().await;
    assert_eq!((swept.released, swept.postponed, swept.failed), (1, 0, 0));
    assert!(rig.sandbox.held().is_empty());
    assert_eq!(rig.store().proxy(&proxy).await.unwrap().unwrap().state, ProxyState::Released);
    assert_eq!(rig.events.of("proxy.released").len(), 1);
    let charged = rig.sandbox.total_charged();
    rig.clock.forward_secs(90 * 86_400);
    assert_eq!(rig.sandbox.total_charged(), charged);
    assert_eq!(rig.sweep().await, Default::default());
    none("released", &Books::of(&rig).await.settled());
}

#[tokio::test]
async fn a_line_that_nobody_uses_closes_by_itself_after_five_minutes() {
    let rig = Rig::new().await;
    rig.sandbox.set_stock("nl", 2);
    let mut request = crate::support::request("a", "nl");
    request.hold = tollgate_domain::line::Hold::Tunnels;
    crate::support::send(&rig.platform, request.clone()).await.unwrap();
    let session = "edge1.1".parse().unwrap();
    rig.store().line_opened(&request.line, &session, rig.now()).await.unwrap();
    rig.clock.forward_secs(3600);
    // Its first reminder means nothing while a tunnel is open.
    assert_eq!((rig.sweep().await.stale, rig.sweep().await.stale), (1, 0));
    rig.store().line_quiet(&request.line, &session, rig.now()).await.unwrap();
    rig.clock.forward_secs(299);
    assert_eq!(rig.sweep().await.lines_closed, 0);
    rig.clock.forward_secs(1);
    assert_eq!(rig.sweep().await.lines_closed, 1);
    let books = Books::of(&rig).await;
    assert_eq!((books.open_lines(), books.free("nl")), (0, 1));
    none("closed", &books.settled());
    assert_eq!(rig.events.of("line.closed")[0].detail["reason"], "unused");
}
