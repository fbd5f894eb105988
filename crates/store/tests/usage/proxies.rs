//! What proxies carried.

use tollgate_domain::id::ProxyId;
use tollgate_store::proxy_use::ProxyUse;

use super::*;

fn used(seq: u64, bytes: u64) -> ProxyUse {
    ProxyUse { seq, bytes, last_at: at(seq), open: 1 }
}

#[tokio::test]
async fn a_proxys_rows_only_grow_by_their_sequence_and_are_read_together() {
    let (e, s) = store().await;
    let proxy: ProxyId = "brd/2001:db8::1".parse().unwrap();
    let other: CustomerId = "other".parse().unwrap();
    assert!(s.record_proxy_use(&proxy, &demo(), &edge(1), &used(1, 10)).await.unwrap());
    assert!(!s.record_proxy_use(&proxy, &demo(), &edge(1), &used(1, 99)).await.unwrap());
    // Its own earlier attempt counts as written.
    assert!(!losing(&e, "PutItem").0.record_proxy_use(&proxy, &demo(), &edge(1), &used(3, 30)).await.unwrap());
    assert!(!s.record_proxy_use(&proxy, &demo(), &edge(1), &used(2, 20)).await.unwrap());
    assert!(s.record_proxy_use(&proxy, &other, &edge(2), &used(1, 7)).await.unwrap());
    assert_eq!(s.proxy_use(&proxy, &demo(), &edge(1)).await.unwrap(), Some(used(3, 30)));
    assert_eq!(s.proxy_use(&proxy, &demo(), &edge(2)).await.unwrap(), None);
    let all = s.proxy_users(&proxy).await.unwrap();
    let shown: Vec<_> = all.iter().map(|u| (u.customer.as_str(), u.session.clone(), u.used.bytes)).collect();
    assert_eq!(shown, [("demo", edge(1), 30), ("other", edge(2), 7)]);
    assert!(s.proxy_users(&"brd/2001:db8::2".parse().unwrap()).await.unwrap().is_empty());
}
