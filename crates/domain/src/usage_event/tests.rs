use super::*;

fn event(kind: EventKind, seq: u32) -> UsageEvent {
    UsageEvent {
        connection: "edge1.3-42".parse().unwrap(),
        kind,
        seq,
        at: Timestamp::from_secs(1_800_000_000),
        line: "chip1".parse().unwrap(),
        proxy: Some("brd/2001:db8::7".parse().unwrap()),
        ingress: 1,
        egress: 2,
        duration_ms: 1500,
        reason: Some("finished".into()),
        source: Some("203.0.113.7".parse().unwrap()),
    }
}

#[test]
fn an_event_is_named_by_connection_kind_and_number_and_nothing_else_is_one() {
    let id = event(EventKind::DataTransfer, 7).id();
    assert_eq!(id.to_string(), "edge1.3-42:data_transfer:7");
    assert_eq!(id.to_string().parse(), Ok(id.clone()));
    let later = UsageEvent { at: Timestamp::from_secs(1), ingress: 9, ..event(EventKind::DataTransfer, 7) };
    assert_eq!(later.id(), id);
    for other in [event(EventKind::DataTransfer, 8), event(EventKind::ConnectionEnd, 7)] {
        assert_ne!(other.id(), id);
    }
    for bad in
        ["", "edge1.3-42", "edge1.3-42:error", "edge1.3-42:fault:0", "edge1.3:error:0", "edge1.3-42:error:-1", "::"]
    {
        assert!(bad.parse::<EventId>().is_err(), "{bad}");
    }
}

#[test]
fn a_place_round_trips_and_orders_by_time_and_by_what_happens_first() {
    let place = event(EventKind::Error, 0).place();
    assert_eq!(place.to_string(), "1800000000000:edge1.3-42:error:0");
    assert_eq!(place.to_string().parse(), Ok(place.clone()));
    assert_eq!(serde_json::from_str::<EventPlace>(&serde_json::to_string(&place).unwrap()).unwrap(), place);
    for bad in ["", "1", "x:edge1.3-42:error:0", "-1:edge1.3-42:error:0", "edge1.3-42:error:0"] {
        assert!(bad.parse::<EventPlace>().is_err(), "{bad}");
    }
    let places: Vec<_> = EventKind::ALL.into_iter().map(|kind| event(kind, 0).place()).collect();
    assert!(places.is_sorted());
    let later = UsageEvent { at: place.at.plus(Duration::from_millis(1)), ..event(EventKind::ConnectionStart, 0) };
    assert!(places.iter().all(|p| *p < later.place()));
}

#[test]
fn each_setting_wants_what_its_name_says() {
    let wanted = |r: Recording| EventKind::ALL.into_iter().filter(|k| r.wants(*k)).collect::<Vec<_>>();
    assert_eq!(wanted(Recording::On), EventKind::ALL);
    assert_eq!(wanted(Recording::Errors), [EventKind::Error]);
    assert!(wanted(Recording::Off).is_empty());
    for setting in [Recording::On, Recording::Errors, Recording::Off] {
        assert_eq!(setting.to_string().parse(), Ok(setting));
    }
    assert_eq!("On".parse::<Recording>().unwrap_err().to_string(), "it is one of on, errors, off");
}

#[test]
fn an_event_is_stored_under_the_words_of_the_interface() {
    let json = serde_json::to_value(event(EventKind::ConnectionEnd, 0)).unwrap();
    assert_eq!((json["kind"].as_str(), json["connection"].as_str()), (Some("connection_end"), Some("edge1.3-42")));
    assert_eq!(serde_json::from_value::<UsageEvent>(json).unwrap(), event(EventKind::ConnectionEnd, 0));
    for kind in EventKind::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
    }
    let bare = UsageEvent { proxy: None, reason: None, source: None, ..event(EventKind::Error, 0) };
    let json = serde_json::to_value(&bare).unwrap();
    assert_eq!(serde_json::from_value::<UsageEvent>(json).unwrap(), bare);
}

#[test]
fn an_event_expires_after_thirty_days() {
    let e = event(EventKind::Error, 0);
    assert_eq!(e.expires().since(e.at), Duration::from_secs(30 * 24 * 3600));
    assert_eq!(e.bytes(), 3);
    assert_eq!(UsageEvent { ingress: u64::MAX, ..e }.bytes(), u64::MAX);
}
