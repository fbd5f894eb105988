use tollgate_domain::feed::{Change, Entity};
use tollgate_domain::provider::Provider;

use crate::{at, store};

fn row(ver: u64) -> Provider {
    serde_json::from_value(serde_json::json!({
        "id": "brd", "name": "Bright Data", "type": "bright_data", "upstream": { "kind": "exclusive" }, "class": "isp",
        "api_url": "http://127.0.0.1:9", "account": "c_1", "zone": "isp", "gateway_host": "127.0.0.1",
        "gateway_port": 1, "price": { "micros": 4_000_000, "currency": "USD" }, "billing_grain": "month",
        "due_rule": "strict", "idle_ttl_s": 3600, "active": true, "health": 100, "ver": ver,
        "created_at": 0, "updated_at": 0,
    }))
    .unwrap()
}

#[tokio::test]
async fn a_row_is_replaced_by_who_read_it_last() {
    let store = store().await;
    let id = row(1).id;
    assert_eq!(store.provider(&id).await.unwrap(), None);
    assert!(store.put_provider(&row(1), at(0)).await.unwrap());
    assert!(store.put_provider(&row(1), at(0)).await.unwrap(), "repeated");
    assert!(store.put_provider(&row(2), at(1)).await.unwrap());
    let mut late = row(2);
    late.health = 1;
    assert!(!store.put_provider(&late, at(2)).await.unwrap());
    assert_eq!(store.providers().await.unwrap(), [row(2)]);
    assert!(!store.delete_provider(&id, 1, at(3)).await.unwrap());
    assert!(store.delete_provider(&id, 2, at(3)).await.unwrap());
    assert!(!store.delete_provider(&id, 2, at(3)).await.unwrap(), "it is gone");
    assert_eq!(store.providers().await.unwrap(), []);
}

#[tokio::test]
async fn edges_hear_of_every_change_in_the_window_they_look_at() {
    let store = store().await;
    store.put_provider(&row(1), at(0)).await.unwrap();
    store.put_provider(&row(2), at(10)).await.unwrap();
    let versions = async |from| {
        let changes = store.changes_since(at(from)).await.unwrap();
        assert!(changes.iter().all(|(_, c)| c.entity == Entity::Provider(row(1).id)));
        changes.into_iter().map(|(_, Change { version, .. })| version).collect::<Vec<_>>()
    };
    assert_eq!(versions(0).await, [1, 2]);
    assert_eq!(versions(1).await, [2]);
    assert_eq!(versions(11).await, [] as [u64; 0]);
}
