use tollgate_domain::proxy::{ProxyClass, ProxyState};
use tollgate_store::Store;
use tollgate_store::line::DUE_SHARDS;
use tollgate_store::proxy::DueProxy;

use crate::{active, at, idle, nl, store};

async fn due(store: &Store, now: u64) -> Vec<DueProxy> {
    let mut all = Vec::new();
    for shard in 0..DUE_SHARDS {
        all.extend(store.due_proxies(shard, at(now), 10).await.unwrap());
    }
    all
}

#[tokio::test]
async fn an_address_is_taken_in_once() {
    let store = store().await;
    assert!(store.adopt(&idle("192.0.2.1")).await.unwrap());
    assert!(!store.adopt(&idle("192.0.2.1")).await.unwrap());
    assert_eq!(store.proxies(&"brd".parse().unwrap()).await.unwrap(), [idle("192.0.2.1")]);
    assert_eq!(due(&store, 3599).await, []);
    assert_eq!(due(&store, 3600).await, [DueProxy { id: idle("192.0.2.1").id, at: at(3600) }]);
}

#[tokio::test]
async fn a_free_list_is_read_from_anywhere_to_its_end_and_on_from_its_start() {
    let store = store().await;
    for n in 0..25 {
        assert!(store.adopt(&idle(&format!("192.0.2.{n}"))).await.unwrap());
    }
    for start in [0, 1, 0x4000_0000, 0x8000_0000, u32::MAX] {
        let read = |limit| store.free_proxies(nl(), ProxyClass::Isp, start, limit);
        let all = read(100).await.unwrap();
        let ids: std::collections::BTreeSet<_> = all.iter().map(|f| f.id.clone()).collect();
        assert_eq!((all.len(), ids.len()), (25, 25), "{start}");
        assert_eq!(read(10).await.unwrap(), all[..10], "{start}");
    }
    assert_eq!(store.free_proxies(nl(), ProxyClass::Datacenter, 0, 10).await.unwrap(), []);
}

#[tokio::test]
async fn only_what_is_idle_and_due_leaves_the_pool() {
    let store = store().await;
    let proxy = idle("192.0.2.1");
    assert!(store.adopt(&proxy).await.unwrap());
    assert!(!store.begin_release(&proxy, at(3599), at(3700)).await.unwrap(), "not due");
    assert!(!store.begin_release(&active("192.0.2.9", "a"), at(9998), at(9999)).await.unwrap(), "not ours");
    assert!(store.begin_release(&proxy, at(3600), at(3720)).await.unwrap());
    assert!(!store.begin_release(&proxy, at(3600), at(3720)).await.unwrap(), "somebody does it already");
    assert_eq!(store.free_proxies(nl(), ProxyClass::Isp, 0, 10).await.unwrap(), []);
    assert_eq!(due(&store, 9999).await, [DueProxy { id: proxy.id.clone(), at: at(3720) }]);

    let leaving = store.proxy(&proxy.id).await.unwrap().unwrap();
    assert_eq!((leaving.state, leaving.due), (ProxyState::Releasing, Some(at(3720))));
    assert!(store.postpone_release(&leaving, at(3720)).await.unwrap(), "to the same instant");
    let leaving = store.proxy(&proxy.id).await.unwrap().unwrap();
    assert!(store.postpone_release(&leaving, at(4000)).await.unwrap());
    assert!(store.postpone_release(&leaving, at(4000)).await.unwrap(), "repeated: it stays in release");
    let leaving = store.proxy(&proxy.id).await.unwrap().unwrap();
    assert_eq!(leaving.release_failures, 2);
    for _ in 0..2 {
        assert!(store.end_release(&leaving, at(4000)).await.unwrap());
    }
    assert!(!store.postpone_release(&leaving, at(5000)).await.unwrap(), "it is gone");
    assert_eq!(due(&store, 9999).await, []);
    assert_eq!(store.proxy(&proxy.id).await.unwrap().unwrap().released_at, Some(at(4000)));
    // Sold to us again, it is a new one.
    assert!(store.adopt(&proxy).await.unwrap());
    store.drop_due_proxy(&due(&store, 9999).await[0]).await.unwrap();
    assert_eq!(due(&store, 9999).await, []);
}
