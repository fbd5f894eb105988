use tollgate_domain::money::Money;
use tollgate_domain::plan::{Limits, Plan};
use tollgate_engine::{Fault, Step};
use tollgate_store::api_key::{ApiKey, Holder, Role, Scope, hash};

use crate::{at, faulty, store};

fn plan(code: &str, ver: u32, threads: u32) -> Plan {
    let zero = Money::usd_micros(0);
    Plan { code: code.into(), ver, limits: Limits { threads, ..Limits::default() }, base: zero, per_gb: zero }
}

#[tokio::test]
async fn plans_are_seeded_once_and_changed_by_new_versions() {
    let (engine, store) = store().await;
    let seeds = [plan("free", 1, 5), plan("free_plus", 1, 7)];
    assert_eq!(store.seed_plans(&seeds).await.unwrap(), 2);
    let changed = [plan("free", 1, 99)];
    assert_eq!(store.seed_plans(&changed).await.unwrap(), 0, "a version that stands is never written over");
    assert_eq!(store.plan("free", None).await.unwrap(), Some(plan("free", 1, 5)));
    assert_eq!(store.plan("fre", None).await.unwrap(), None);

    let (weak, _) = faulty(&engine, [Step::from(Fault::LostAck).on("PutItem")]);
    assert_eq!(weak.new_plan_version(&plan("free", 0, 6)).await.unwrap(), plan("free", 2, 6));
    assert_eq!(store.new_plan_version(&plan("own", 77, 1)).await.unwrap().ver, 1, "versions start at 1");
    assert_eq!(store.plan("free", None).await.unwrap(), Some(plan("free", 2, 6)));
    assert_eq!(store.plan("free", Some(1)).await.unwrap(), Some(plan("free", 1, 5)));
    assert_eq!(store.plan("free", Some(9)).await.unwrap(), None);
    let all = store.plans().await.unwrap().into_iter().map(|p| (p.code, p.ver)).collect::<Vec<_>>();
    assert_eq!(all, [("free".into(), 1), ("free".into(), 2), ("free_plus".into(), 1), ("own".to_owned(), 1)]);
}

#[tokio::test]
async fn writers_of_new_plan_versions_get_different_ones() {
    let (_engine, store) = store().await;
    let writers = (1..=5).map(|threads| {
        let store = store.clone();
        async move { store.new_plan_version(&plan("free", 0, threads)).await.unwrap().ver }
    });
    let mut versions = futures_util::future::join_all(writers).await;
    versions.sort_unstable();
    assert_eq!(versions, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn an_api_key_is_found_by_its_hash_until_it_is_revoked() {
    let (engine, store) = store().await;
    let holder = Holder::Customer { id: "a".parse().unwrap(), scopes: vec![Scope::ProxiesRead] };
    let key = ApiKey::new("tg_live_0123456789", holder.clone(), at(0));
    assert_eq!((key.last4.as_str(), key.hash.len(), key.id().len()), ("6789", 64, 16));
    assert!(!format!("{key:?}").contains("0123456789"));
    assert_eq!(ApiKey::new("abc", holder.clone(), at(0)).last4, "", "a short key shows nothing");
    let (weak, _) = faulty(&engine, [Step::from(Fault::LostAck).on("TransactWriteItems")]);
    assert_eq!(weak.ensure_api_key(&key).await.unwrap(), key);
    let later = ApiKey::new("tg_live_0123456789", holder.clone(), at(50));
    assert_eq!(store.ensure_api_key(&later).await.unwrap(), key, "the key that is there stays");
    assert_eq!(store.api_key(&hash("tg_live_0123456789")).await.unwrap(), Some(key.clone()));
    assert_eq!(store.api_key(&hash("another")).await.unwrap(), None);

    let admin = ApiKey::new("root", Holder::Admin { name: "ana".into(), role: Role::Owner }, at(0));
    store.ensure_api_key(&admin).await.unwrap();
    assert_eq!(store.api_keys(&holder).await.unwrap(), vec![key.clone()]);
    assert_eq!(store.api_keys(&admin.holder).await.unwrap(), vec![admin.clone()]);

    let ended = store.revoke_api_key(&key.hash, at(7)).await.unwrap().unwrap();
    assert_eq!(ended.revoked_at, Some(at(7)));
    let again = store.revoke_api_key(&key.hash, at(9)).await.unwrap().unwrap();
    assert_eq!(again.revoked_at, Some(at(7)), "a key ends once");
    assert_eq!(store.revoke_api_key("nothing", at(9)).await.unwrap(), None);
    assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Owner);
}
