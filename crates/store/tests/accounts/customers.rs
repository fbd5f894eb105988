use std::collections::BTreeSet;
use std::time::Duration;

use tollgate_domain::customer::{Ban, Standing};
use tollgate_domain::feed::{Change, Entity};
use tollgate_domain::money::Money;
use tollgate_domain::plan::{Limits, Plan};
use tollgate_engine::{Fault, Step};
use tollgate_store::StoreError;
use tollgate_store::credential::Rotated;
use tollgate_store::customer::Created;

use crate::{at, credential, customer, faulty, lost_for_good, store};

#[tokio::test]
async fn a_customer_is_made_once_with_its_credential() {
    let (_engine, store) = store().await;
    let (a, cred) = (customer("a"), credential("a", "alice"));
    assert_eq!(store.create_customer(&a, &cred, at(0)).await.unwrap(), Created::Created);
    assert_eq!(store.create_customer(&a, &cred, at(9)).await.unwrap(), Created::Created, "the same call again");
    assert_eq!(store.customer(&a.id).await.unwrap(), Some(a.clone()));
    assert_eq!(store.credential(&cred.user).await.unwrap(), Some(cred.clone()));
    assert_eq!(store.credentials(&a.id).await.unwrap(), vec![cred.clone()]);

    let mut other = a.clone();
    other.name = "Other".into();
    assert_eq!(store.create_customer(&other, &credential("a", "bob"), at(0)).await.unwrap(), Created::IdTaken);
    let b = customer("b");
    assert_eq!(store.create_customer(&b, &credential("b", "alice"), at(0)).await.unwrap(), Created::UserTaken);
    assert_eq!(store.customer(&b.id).await.unwrap(), None, "nothing of a refused customer stays");
    assert_eq!(store.credential(&"bob".parse().unwrap()).await.unwrap(), None);
    assert_eq!(store.customers(None, 10).await.unwrap(), vec![a]);
    let fed = store.changes_since(at(0)).await.unwrap();
    assert_eq!(
        fed.into_iter().map(|(_, c)| c).collect::<Vec<_>>(),
        vec![Change { entity: Entity::Credential(cred.user), version: 1 }]
    );
}

#[tokio::test]
async fn customers_are_listed_in_order_page_by_page_without_a_gap() {
    let (_engine, store) = store().await;
    let ids = (0..23).map(|n| format!("c{n}")).collect::<BTreeSet<_>>();
    for id in &ids {
        store.create_customer(&customer(id), &credential(id, id), at(0)).await.unwrap();
    }
    let mut seen = Vec::new();
    loop {
        let after = seen.last().map(|s: &String| s.parse().unwrap());
        let page = store.customers(after.as_ref(), 5).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 5);
        seen.extend(page.into_iter().map(|c| c.id.to_string()));
    }
    assert_eq!(seen, ids.into_iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn each_transition_changes_its_field_counts_the_version_and_tells_the_edges() {
    let (_engine, store) = store().await;
    let c = customer("a");
    store.create_customer(&c, &credential("a", "a"), at(0)).await.unwrap();
    let ban = |by: &str| Ban { at: at(1), reason: "abuse".into(), by: by.into() };

    let banned = store.ban_customer(&c.id, ban("op"), at(1)).await.unwrap().unwrap();
    assert_eq!((banned.before.ban, banned.after.standing(at(1))), (None, Standing::Banned));
    let again = store.ban_customer(&c.id, ban("somebody else"), at(2)).await.unwrap().unwrap();
    assert_eq!(again.after.ban, Some(ban("op")), "a ban that stands is kept");
    assert_eq!(again.after.ver, 2, "a change that changes nothing writes nothing");
    assert_eq!(store.unban_customer(&c.id, at(3)).await.unwrap().unwrap().after.ban, None);

    store.lock_customer(&c.id, at(100), at(3)).await.unwrap();
    let locked = store.lock_customer(&c.id, at(50), at(3)).await.unwrap().unwrap().after;
    assert_eq!(locked.standing(at(60)), Standing::Locked { until: at(100) }, "the longer lock stands");
    assert_eq!(store.unlock_customer(&c.id, at(4)).await.unwrap().unwrap().after.standing(at(4)), Standing::Active);

    store.kick_customer(&c.id, at(9)).await.unwrap();
    let kicked = store.kick_customer(&c.id, at(8)).await.unwrap().unwrap().after;
    assert_eq!(kicked.kicked_at, Some(at(9)), "a late kick does not undo a later one");

    let plan = Plan {
        code: "pro".into(),
        ver: 3,
        limits: Limits { threads: 50, ..Limits::default() },
        base: Money::usd_micros(50_000_000),
        per_gb: Money::usd_micros(0),
    };
    let moved = store.set_plan(&c.id, &plan, at(10)).await.unwrap().unwrap().after;
    assert_eq!((moved.plan.as_str(), moved.plan_ver, moved.limits.threads), ("pro", 3, 50));
    let own = Limits { threads: 60, ..Limits::default() };
    assert_eq!(store.set_limits(&c.id, &own, at(11)).await.unwrap().unwrap().after.limits, own);
    let ends = store.extend_customer(&c.id, Some(at(500)), at(12)).await.unwrap().unwrap().after;
    assert_eq!(ends.standing(at(500)), Standing::Expired { at: at(500) });
    assert_eq!(store.extend_customer(&c.id, None, at(12)).await.unwrap().unwrap().after.expires_at, None);
    store.delete_customer(&c.id, at(13)).await.unwrap();
    let gone = store.delete_customer(&c.id, at(14)).await.unwrap().unwrap().after;
    assert_eq!(gone.deleted_at, Some(at(13)), "a deletion keeps its time");

    let mut fed = store.changes_since(at(0)).await.unwrap().into_iter().map(|(_, c)| c).collect::<Vec<_>>();
    fed.retain(|f| f.entity == Entity::Customer(c.id.clone()));
    let mut versions = fed.into_iter().map(|c| c.version).collect::<Vec<_>>();
    versions.sort_unstable();
    assert_eq!(versions, (2..=gone.ver).collect::<Vec<_>>(), "one entry a version");
    assert!(store.kick_customer(&"nobody".parse().unwrap(), at(0)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_change_survives_lost_answers_and_conflicts() {
    let (engine, store) = store().await;
    let c = customer("a");
    store.create_customer(&c, &credential("a", "a"), at(0)).await.unwrap();
    let conflicts = (0..4).map(|_| Step::from(Fault::Conflict).on("TransactWriteItems"));
    let lost = [Step::from(Fault::LostAck).on("TransactWriteItems")];
    let (weak, faults) = faulty(&engine, conflicts.chain(lost));
    let kicked = weak.kick_customer(&c.id, at(5)).await.unwrap().unwrap().after;
    assert_eq!((faults.left(), kicked.ver), (0, 2));
    assert_eq!(store.customer(&c.id).await.unwrap(), Some(kicked));

    let (weak, _) = faulty(&engine, lost_for_good("TransactWriteItems"));
    let e = weak.kick_customer(&c.id, at(6)).await.unwrap_err();
    assert!(matches!(e, StoreError::Unavailable(_)), "{e}");
    let again = weak.kick_customer(&c.id, at(6)).await.unwrap().unwrap().after;
    assert_eq!((again.ver, again.kicked_at), (3, Some(at(6))), "repeating it does it once");
}

#[tokio::test]
async fn concurrent_changes_of_one_customer_all_count() {
    let (_engine, store) = store().await;
    let c = customer("a");
    store.create_customer(&c, &credential("a", "a"), at(0)).await.unwrap();
    let changes = (0..6u64).map(|n| {
        let (store, id) = (store.clone(), c.id.clone());
        async move {
            match n % 2 {
                0 => store.kick_customer(&id, at(10 + n)).await,
                _ => store.lock_customer(&id, at(1000 + n), at(0)).await,
            }
        }
    });
    for done in futures_util::future::join_all(changes).await {
        assert!(done.unwrap().is_some());
    }
    let after = store.customer(&c.id).await.unwrap().unwrap();
    assert_eq!((after.kicked_at, after.locked_until), (Some(at(14)), Some(at(1005))));
}

#[tokio::test]
async fn a_rotated_credential_keeps_the_old_verifier_for_a_while() {
    let (engine, store) = store().await;
    let cred = credential("a", "alice");
    store.create_customer(&customer("a"), &cred, at(0)).await.unwrap();
    let overlap = Duration::from_secs(600);
    let (weak, faults) = faulty(&engine, [Step::from(Fault::LostAck).on("TransactWriteItems")]);
    let Rotated::Rotated(two) = weak.rotate_credential(&cred.user, 1, "v2", overlap, at(5)).await.unwrap() else {
        panic!("it was at version 1");
    };
    assert_eq!((faults.left(), two.version, two.verifier.as_str()), (0, 2, "v2"));
    let previous = two.previous.as_ref().unwrap();
    assert_eq!((previous.verifier.as_str(), previous.until), ("v1", at(605)));
    let repeated = store.rotate_credential(&cred.user, 1, "v2", overlap, at(6)).await.unwrap();
    assert_eq!(repeated, Rotated::Rotated(two), "the same rotation again changes nothing");
    assert_eq!(store.rotate_credential(&cred.user, 1, "v9", overlap, at(6)).await.unwrap(), Rotated::Stale);
    let Rotated::Rotated(three) = store.rotate_credential(&cred.user, 2, "v3", Duration::ZERO, at(7)).await.unwrap()
    else {
        panic!("it was at version 2");
    };
    assert_eq!(three.previous, None, "without overlap the old one ends at once");
    let nobody = "nobody".parse().unwrap();
    assert_eq!(store.rotate_credential(&nobody, 1, "v2", overlap, at(5)).await.unwrap(), Rotated::NotFound);
    let fed = store.changes_since(at(5)).await.unwrap().into_iter().map(|(_, c)| c.version).collect::<BTreeSet<_>>();
    assert_eq!(fed, BTreeSet::from([2, 3]));
}

#[tokio::test]
async fn of_concurrent_rotations_to_different_verifiers_one_wins() {
    let (_engine, store) = store().await;
    let cred = credential("a", "alice");
    store.create_customer(&customer("a"), &cred, at(0)).await.unwrap();
    let tries = (0..4).map(|n| {
        let (store, user) = (store.clone(), cred.user.clone());
        async move { store.rotate_credential(&user, 1, &format!("v2 of {n}"), Duration::ZERO, at(1)).await.unwrap() }
    });
    let done = futures_util::future::join_all(tries).await;
    assert_eq!(done.iter().filter(|r| matches!(r, Rotated::Rotated(_))).count(), 1, "{done:?}");
    assert_eq!(done.iter().filter(|r| **r == Rotated::Stale).count(), 3);
}
