use proptest::prelude::*;

use super::*;

const ALL: [IntentState; 5] =
    [IntentState::Planned, IntentState::Calling, IntentState::Confirmed, IntentState::Failed, IntentState::Unknown];

fn intent() -> Intent {
    Intent {
        id: IntentId::new("01A").unwrap(),
        provider: ProviderId::new("brd").unwrap(),
        zone: "isp".into(),
        country: Country::parse("be").unwrap(),
        line: "demo#chip1".parse().unwrap(),
        attempt: AttemptId::new("a").unwrap(),
        price: Money::usd_micros(4_000_000),
        state: IntentState::Planned,
        planned_at: Timestamp::from_secs(100),
        called_at: None,
        resolved_at: None,
        ip: None,
        reason: None,
        trail: vec![(IntentState::Planned, Timestamp::from_secs(100))],
    }
}

proptest! {
    /// A final state is final; an unknown never becomes a call again: nothing is bought twice.
    #[test]
    fn no_path_calls_twice(path in prop::collection::vec(prop::sample::select(ALL.to_vec()), 1..30)) {
        let mut i = intent();
        for (n, to) in path.into_iter().enumerate() {
            let before = i.clone();
            if i.step(to, Timestamp::from_secs(101 + n as u64), None).is_err() {
                prop_assert_eq!(&i, &before);
            }
        }
        let calls = i.trail.iter().filter(|(s, _)| *s == IntentState::Calling).count();
        let ends = i.trail.iter().filter(|(s, _)| s.is_final()).count();
        prop_assert!(calls <= 1 && ends <= 1, "{:?}", i.trail);
        prop_assert_eq!(i.resolved_at.is_some(), i.state.is_final());
        prop_assert_eq!(i.trail.last().unwrap().0, i.state);
    }

    /// Each address goes once, each intent gets at most one, the oldest first.
    #[test]
    fn matching_is_one_to_one(n in 0usize..8, m in 0usize..8) {
        let unknown = (0..n).rev().map(|k| (Timestamp::from_secs(k as u64), IntentId::new(format!("i{k}")).unwrap())).collect();
        let ips = (0..m).map(|k| format!("203.0.113.{k}")).collect::<Vec<_>>();
        let got = match_addresses(unknown, ips.clone());
        prop_assert_eq!(got.pairs.len(), n.min(m));
        prop_assert_eq!(got.surplus.len(), m.saturating_sub(n));
        for (k, (id, _)) in got.pairs.iter().enumerate() {
            let want = format!("i{k}");
            prop_assert_eq!(id.as_str(), want.as_str());
        }
        let mut all = got.pairs.into_iter().map(|(_, ip)| ip).chain(got.surplus).collect::<Vec<_>>();
        all.sort();
        prop_assert_eq!(all, ips);
    }
}

#[test]
fn an_unlisted_intent_waits_fifteen_minutes() {
    let mut i = intent();
    let at = Timestamp::from_secs;
    assert_eq!(i.verdict_when_unlisted(at(120)), Verdict::Wait);
    assert_eq!(i.verdict_when_unlisted(at(131)), Verdict::Fail("never called"));
    i.step(IntentState::Calling, at(101), None).unwrap();
    assert_eq!(i.verdict_when_unlisted(at(131)), Verdict::Wait);
    assert_eq!(i.verdict_when_unlisted(at(132)), Verdict::Unknown("the caller died during the call"));
    i.step(IntentState::Unknown, at(132), Some("timeout".into())).unwrap();
    assert_eq!(i.reason.as_deref(), Some("timeout"));
    assert_eq!(i.verdict_when_unlisted(at(101 + 900)), Verdict::Wait);
    assert!(matches!(i.verdict_when_unlisted(at(101 + 901)), Verdict::Fail(_)));
    i.step(IntentState::Failed, at(1002), None).unwrap();
    assert_eq!(i.verdict_when_unlisted(at(9999)), Verdict::Wait);
    let err = i.step(IntentState::Calling, at(1003), None).unwrap_err();
    assert_eq!(err.to_string(), "an intent cannot go from Failed to Calling");
}
