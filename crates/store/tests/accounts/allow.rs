//! Listed sources.

use std::collections::BTreeMap;

use tollgate_domain::allow::{AllowEntry, AllowNet, Block};
use tollgate_domain::feed::{Change, Entity};
use tollgate_domain::id::CustomerId;
use tollgate_engine::{Fault, Step};
use tollgate_store::allow::Allowed;
use tollgate_store::{Store, StoreError};

use crate::{at, faulty, lost_for_good, store};

fn id(customer: &str) -> CustomerId {
    customer.parse().unwrap()
}

fn net(s: &str) -> AllowNet {
    s.parse().unwrap()
}

fn entry(customer: &str, s: &str, since: u64) -> AllowEntry {
    AllowEntry { net: net(s), customer: id(customer), note: "office".into(), created_at: at(since) }
}

fn block(s: &str) -> Block {
    s.parse().unwrap()
}

async fn owner(store: &Store, from: &str) -> Option<String> {
    let from = from.parse().unwrap();
    let held = store.allow_block(&Block::of(from)).await.unwrap()?;
    held.find(from).map(|e| e.customer.to_string())
}

async fn fed(store: &Store) -> Vec<Change> {
    let mut changes = store.changes_since(at(0)).await.unwrap().into_iter().map(|(_, c)| c).collect::<Vec<_>>();
    changes.sort_by_key(|c| match &c.entity {
        Entity::AllowBlock(block) => (block.to_string(), c.version),
        other => panic!("{other:?}"),
    });
    changes
}

#[tokio::test]
async fn an_entry_is_found_by_address_and_by_customer_and_edges_hear_of_it() {
    let (_engine, store) = store().await;
    let wide = entry("a", "203.0.113.0/25", 0);
    let one = entry("a", "203.0.113.7", 1);
    let six = entry("b", "2001:db8:1::/64", 2);
    for e in [&wide, &one, &six] {
        assert_eq!(store.allow_add(e, 20, e.created_at).await.unwrap(), Allowed::Added(e.clone()));
    }
    assert_eq!(store.allow_list(&id("a")).await.unwrap(), vec![wide.clone(), one.clone()]);
    assert_eq!(store.allow_list(&id("b")).await.unwrap(), vec![six]);
    let held = store.allow_block(&block("203.0.113.0/24")).await.unwrap().unwrap();
    assert_eq!((held.ver, held.entries), (2, vec![wide, one.clone()]));
    assert_eq!(owner(&store, "203.0.113.7").await.as_deref(), Some("a"));
    assert_eq!(owner(&store, "203.0.113.128").await, None);
    assert_eq!(owner(&store, "2001:db8:1::9").await.as_deref(), Some("b"));
    assert_eq!(owner(&store, "8.8.8.8").await, None);

    assert_eq!(store.allow_remove(&id("b"), &one.net, at(3)).await.unwrap(), None, "it is not b's");
    assert_eq!(store.allow_remove(&id("a"), &one.net, at(3)).await.unwrap(), Some(one.clone()));
    assert_eq!(store.allow_remove(&id("a"), &one.net, at(4)).await.unwrap(), None, "it is gone");
    assert_eq!(store.allow_list(&id("a")).await.unwrap().len(), 1);
    let told = |b: &str, version| Change { entity: Entity::AllowBlock(block(b)), version };
    let v4 = (1..=3).map(|v| told("203.0.113.0/24", v));
    assert_eq!(fed(&store).await, [told("2001:db8:1::/48", 1)].into_iter().chain(v4).collect::<Vec<_>>());
}

#[tokio::test]
async fn no_two_customers_share_an_address() {
    let (_engine, store) = store().await;
    store.allow_add(&entry("a", "203.0.113.64/26", 0), 20, at(0)).await.unwrap();
    for taken in ["203.0.113.0/24", "203.0.113.64/26", "203.0.113.127"] {
        assert_eq!(store.allow_add(&entry("b", taken, 1), 20, at(1)).await.unwrap(), Allowed::Taken, "{taken}");
        assert!(matches!(store.allow_add(&entry("a", taken, 0), 20, at(1)).await.unwrap(), Allowed::Added(_)));
    }
    assert!(store.allow_list(&id("b")).await.unwrap().is_empty());
    assert_eq!(store.allow_clear(&id("a"), at(2)).await.unwrap(), 3);
    assert_eq!(owner(&store, "203.0.113.64").await, None);
    let e = entry("b", "203.0.113.0/24", 3);
    assert_eq!(store.allow_add(&e, 20, at(3)).await.unwrap(), Allowed::Added(e), "free again");
    let held = store.allow_block(&block("203.0.113.0/24")).await.unwrap().unwrap();
    assert_eq!(held.ver, 7, "versions of an emptied block go on: edges may remember them");
}

#[tokio::test]
async fn a_customer_lists_as_many_as_it_may_and_no_more() {
    let (_engine, store) = store().await;
    for n in 0..2 {
        let e = entry("a", &format!("203.0.{n}.1"), 0);
        assert!(matches!(store.allow_add(&e, 2, at(0)).await.unwrap(), Allowed::Added(_)));
    }
    let third = entry("a", "203.0.2.1", 0);
    assert_eq!(store.allow_add(&third, 2, at(0)).await.unwrap(), Allowed::TooMany);
    assert_eq!(store.allow_block(&third.net.block()).await.unwrap(), None, "nothing of a refused entry stays");
    assert_eq!(store.allow_list(&id("a")).await.unwrap().len(), 2);
    let again = entry("a", "203.0.1.1", 9);
    let Allowed::Kept(kept) = store.allow_add(&again, 2, at(9)).await.unwrap() else { panic!("it is listed") };
    assert_eq!(kept.created_at, at(0), "what is listed is no more, and keeps its time");
    let noted = AllowEntry { note: "home".into(), ..again };
    let Allowed::Kept(kept) = store.allow_add(&noted, 2, at(9)).await.unwrap() else { panic!("it is listed") };
    assert_eq!((kept.note.as_str(), kept.created_at), ("home", at(0)));
    assert!(store.allow_list(&id("a")).await.unwrap().contains(&kept));
    store.allow_remove(&id("a"), &net("203.0.0.1"), at(9)).await.unwrap();
    assert_eq!(store.allow_add(&third, 2, at(0)).await.unwrap(), Allowed::Added(third), "there is room again");
}

#[tokio::test]
async fn concurrent_customers_get_what_fits_and_counts_stay_exact() {
    let (_engine, store) = store().await;
    // Four customers want all eight /27 of a block; each may have three.
    let tries = (0..32u32).map(|n| {
        let store = store.clone();
        let e = entry(["a", "b", "c", "d"][(n % 4) as usize], &format!("203.0.113.{}/27", n / 4 * 32), 0);
        async move { store.allow_add(&e, 3, at(0)).await }
    });
    let mut got = BTreeMap::<String, usize>::new();
    for done in futures_util::future::join_all(tries).await {
        match done {
            Ok(Allowed::Added(e)) => *got.entry(e.customer.to_string()).or_default() += 1,
            // A block that many write to at once may keep its writers away.
            Ok(Allowed::Taken | Allowed::TooMany) | Err(StoreError::Unavailable(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    let held = store.allow_block(&block("203.0.113.0/24")).await.unwrap().unwrap();
    assert_eq!(held.entries.len(), got.values().sum::<usize>());
    assert!(!got.is_empty() && got.values().all(|n| *n <= 3), "{got:?}");
    for (customer, n) in &got {
        let listed = store.allow_list(&id(customer)).await.unwrap();
        assert_eq!((listed.len(), held.entries.iter().filter(|e| e.customer == id(customer)).count()), (*n, *n));
        let full = store.allow_add(&entry(customer, "8.8.8.8", 1), u32::try_from(*n).unwrap(), at(1)).await.unwrap();
        assert_eq!(full, Allowed::TooMany, "the count is what is listed");
    }
}

#[tokio::test]
async fn a_lost_answer_or_a_conflict_lists_and_removes_once() {
    let (engine, store) = store().await;
    let e = entry("a", "203.0.113.7", 0);
    let disturbed = || {
        let conflicts = (0..4).map(|_| Step::from(Fault::Conflict).on("TransactWriteItems"));
        conflicts.chain([Step::from(Fault::LostAck).on("TransactWriteItems")])
    };
    let (weak, faults) = faulty(&engine, disturbed());
    assert_eq!(weak.allow_add(&e, 1, at(0)).await.unwrap(), Allowed::Added(e.clone()));
    assert_eq!(faults.left(), 0);
    let (weak, faults) = faulty(&engine, disturbed());
    assert_eq!(weak.allow_remove(&e.customer, &e.net, at(1)).await.unwrap(), Some(e.clone()));
    assert_eq!(faults.left(), 0);

    // Lost for good: the caller repeats.
    let (weak, _) = faulty(&engine, lost_for_good("TransactWriteItems"));
    assert!(matches!(weak.allow_add(&e, 1, at(2)).await, Err(StoreError::Unavailable(_))));
    assert_eq!(weak.allow_add(&e, 1, at(2)).await.unwrap(), Allowed::Added(e.clone()), "even with no room left");
    let (weak, _) = faulty(&engine, lost_for_good("TransactWriteItems"));
    assert!(matches!(weak.allow_remove(&e.customer, &e.net, at(3)).await, Err(StoreError::Unavailable(_))));
    assert_eq!(weak.allow_remove(&e.customer, &e.net, at(3)).await.unwrap(), None);
    assert_eq!(store.allow_add(&e, 1, at(4)).await.unwrap(), Allowed::Added(e), "it was counted down once");
}

#[tokio::test]
async fn edges_say_when_an_entry_was_used_and_a_late_word_changes_nothing() {
    let (_engine, store) = store().await;
    let (a, office) = (id("a"), net("203.0.113.0/28"));
    assert!(store.allow_last_seen(&a, at(0)).await.unwrap().is_empty());
    for t in [5, 3, 9, 9] {
        store.allow_seen(&a, &office, at(t)).await.unwrap();
    }
    assert_eq!(store.allow_last_seen(&a, at(10)).await.unwrap(), BTreeMap::from([(office, at(9))]));
    assert!(store.allow_last_seen(&id("b"), at(10)).await.unwrap().is_empty());
    let later = at(10 + 400 * 86_400);
    assert!(store.allow_last_seen(&a, later).await.unwrap().is_empty(), "expired rows are not read");
}
