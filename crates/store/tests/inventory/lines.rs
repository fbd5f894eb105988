use tollgate_domain::id::EdgeSession;
use tollgate_domain::line::LineState;
use tollgate_store::Store;
use tollgate_store::assignment::{Claim, Found};
use tollgate_store::line::{DUE_SHARDS, DueLine, LineMark};

use crate::{at, bound, idle, line, nl, opening, store};

async fn opened() -> Store {
    let store = store().await;
    store.adopt(&idle("192.0.2.1")).await.unwrap();
    let free = store.free_proxies(nl(), Default::default(), 0, 10).await.unwrap();
    let a = bound("a", "A1", "192.0.2.1");
    let claim = store.claim_idle(&a, Found::Closed(&opening("a", 0)), &free[0], at(0)).await.unwrap();
    assert_eq!(claim, Claim::Won);
    store
}

async fn due(store: &Store, now: u64) -> Vec<DueLine> {
    let mut all = Vec::new();
    for shard in 0..DUE_SHARDS {
        all.extend(store.due_lines(shard, at(now), 10).await.unwrap());
    }
    all
}

#[tokio::test]
async fn a_line_is_due_when_its_last_edge_has_been_quiet() {
    let store = opened().await;
    let key = line("a").key;
    let (one, two): (EdgeSession, EdgeSession) = ("edge1.1".parse().unwrap(), "edge2.1".parse().unwrap());
    for session in [&one, &two, &one] {
        assert_eq!(store.line_opened(&key, session, at(10)).await.unwrap(), LineMark::Done);
    }
    assert_eq!(store.roster_lines(&one).await.unwrap(), std::slice::from_ref(&key));
    let open = store.line(&key).await.unwrap().unwrap();
    assert_eq!((open.open.len(), open.close_due), (2, None));

    assert_eq!(store.line_quiet(&key, &one, at(20)).await.unwrap(), LineMark::Done);
    assert_eq!(store.line(&key).await.unwrap().unwrap().close_due, None, "the other has tunnels");
    assert_eq!(store.line_quiet(&key, &two, at(30)).await.unwrap(), LineMark::Done);
    assert_eq!(store.line_quiet(&key, &two, at(40)).await.unwrap(), LineMark::Done, "repeated");
    assert_eq!(store.line(&key).await.unwrap().unwrap().close_due, Some(at(330)));
    assert_eq!(store.roster_lines(&two).await.unwrap(), []);
    // The reminder of its opening is there still; it means nothing.
    assert_eq!(due(&store, 329).await, [DueLine { line: key.clone(), at: at(300) }]);
    store.drop_due_line(&due(&store, 329).await[0]).await.unwrap();
    assert_eq!(due(&store, 330).await, [DueLine { line: key, at: at(330) }]);
}

#[tokio::test]
async fn a_line_that_is_not_open_takes_no_tunnels() {
    let store = opened().await;
    let session = "edge1.1".parse().unwrap();
    let nowhere = line("nowhere").key;
    assert_eq!(store.line_opened(&nowhere, &session, at(1)).await.unwrap(), LineMark::Closed);
    assert_eq!(store.line_quiet(&nowhere, &session, at(1)).await.unwrap(), LineMark::Closed);
    let open = store.line(&line("a").key).await.unwrap().unwrap();
    let assignment = store.assignment(&open.key).await.unwrap().unwrap();
    let proxy = store.proxy(assignment.proxy.as_ref().unwrap()).await.unwrap().unwrap();
    let idle = Some((&proxy, at(3700), proxy.paid_until));
    let closed = store.close_line(&open, Some(&assignment), idle, at(100)).await.unwrap();
    assert!(closed);
    assert_eq!(store.line_opened(&open.key, &session, at(101)).await.unwrap(), LineMark::Closed);
    let row = store.line(&open.key).await.unwrap().unwrap();
    assert_eq!((row.state, row.closed_at, row.last_proxy), (LineState::Closed, Some(at(100)), Some(proxy.id)));
    assert_eq!(due(&store, 10_000).await, []);
    let past = store.past_assignments(&open.key).await.unwrap();
    assert_eq!(past, [assignment]);
}
