use proptest::prelude::*;

use super::*;

const UUID: &str = "6f1c2a44-09ab-4cde-8f01-23456789abCD";
const PLAIN: &str = "6f1c2a4409ab4cde8f0123456789abCD";

fn ok(s: &str) -> UserSpec {
    parse(s).unwrap_or_else(|e| panic!("{s}: {e}"))
}

#[test]
fn a_full_user_name_is_read_in_any_order_of_keys() {
    let a = ok("demo-session-a1-country-BE-life-45-type-residential");
    assert_eq!(a, ok("demo-type-residential-life-45-country-be-session-a1"));
    assert_eq!(a.session.as_ref().map(Session::as_str), Some("a1"));
    assert_eq!((a.country.map(Country::as_str), a.life_min), (Some("be"), Some(45)));
    assert_eq!(a.class, Some(ProxyClass::Residential));
    assert_eq!(a.to_string(), "demo-session-a1-country-be-life-45-type-residential");
}

#[test]
fn the_line_is_the_one_named_or_the_sessions_or_the_default() {
    for (user, label) in [
        ("demo", "default"),
        ("demo-country-be", "default_be"),
        ("demo-country-UK", "default_gb"),
        ("demo-life-5", "default"),
        ("demo-line-Chip.1", "Chip.1"),
        ("demo-line-chip1-country-be", "chip1"),
        ("demo-session-s1", "session.s1"),
        ("demo-session-s1-country-be", "session.s1"),
        ("demo-line-line", "line"),
        ("demo-line-country-country-be", "country"),
    ] {
        assert_eq!(ok(user).line_label().as_str(), label, "{user}");
    }
}

#[test]
fn a_uuid_is_one_value_and_loses_its_hyphens() {
    assert_eq!(ok(&format!("demo-line-{UUID}")).line_label().as_str(), PLAIN);
    assert_eq!(ok(&format!("demo-line-{PLAIN}")).line_label().as_str(), PLAIN);
    let spec = ok(&format!("demo-country-be-line-{UUID}-life-5"));
    assert_eq!((spec.line_label().as_str(), spec.life_min), (PLAIN, Some(5)));
    assert_eq!(ok(&format!("demo-session-{UUID}-country-nl")).session.unwrap().as_str(), PLAIN);
    for nearly in [
        &UUID[..35],
        &format!("{UUID}0"),
        &UUID.replacen('6', "g", 1),
        &UUID.replace("-09ab", "-9ab0a"),
        &format!("{UUID}-"),
    ] {
        assert!(parse(&format!("demo-line-{nearly}")).is_err(), "{nearly}");
    }
    assert_eq!(ok("demo-line-6f1c2a44-country-be").line_label().as_str(), "6f1c2a44");
}

#[test]
fn bad_user_names_are_refused_with_the_allowed_keys() {
    let long_line = format!("demo-line-{}", "x".repeat(65));
    let long_session = format!("demo-session-{}", "x".repeat(57));
    let too_long = format!("demo-line-{}", "x".repeat(246));
    for (user, says) in [
        ("", "user name must match [a-z0-9_]{1,32}"),
        ("-line-a", "user name must match"),
        ("Demo", "user name must match"),
        ("de mo", "user name must match"),
        ("demo-", "unknown key \"\""),
        ("demo-line", "line must match"),
        ("demo-line-", "line must match"),
        ("demo-line-a-", "unknown key \"\""),
        ("demo--line-a", "unknown key \"\""),
        ("demo-zone-a", "unknown key \"zone\""),
        ("demo-LINE-a", "unknown key \"LINE\""),
        ("demo-line-a-b", "unknown key \"b\""),
        ("demo-line-a-line-b", "line is given twice"),
        ("demo-country-be-country-be", "country is given twice"),
        ("demo-line-a-session-b", "line and session exclude each other"),
        ("demo-line-session.x", "asked for by the key session"),
        ("demo-session-", "session must match [A-Za-z0-9_.]{1,56}"),
        ("demo-session-a/b", "session must match"),
        ("demo-life-0", "life must be 1 to 1440 minutes"),
        ("demo-life-1441", "life must be"),
        ("demo-life-", "life must be"),
        ("demo-life-+5", "life must be"),
        ("demo-life-00005", "life must be"),
        ("demo-type-ISP", "type must be isp, datacenter, residential or mobile"),
        ("demo-line-a\0", "line must match"),
        ("demo-line-é", "line must match"),
        (&long_line, "line must match"),
        (&long_session, "session must match"),
        (&too_long, "user name has 256 bytes, at most 255"),
    ] {
        let e = parse(user).expect_err(user);
        assert_eq!(e.code, Code::UsernameInvalid, "{user}: {e}");
        assert!(e.detail.contains(says), "{user}: {e}");
        assert!(e.detail.ends_with("allowed keys: line, session, country, life, type"), "{user}: {e}");
        assert!(e.detail.len() < 200, "{user}: {e}");
    }
}

#[test]
fn an_unknown_country_has_its_own_code() {
    for user in ["demo-country-xx", "demo-country-", "demo-country", "demo-country-belgium-line-a"] {
        assert_eq!(parse(user).unwrap_err().code, Code::CountryUnknown, "{user}");
    }
    let e = parse(&format!("demo-country-{}", "é".repeat(100))).unwrap_err();
    assert!(e.detail.len() < 100, "{e}");
}

#[test]
fn a_user_name_is_printed_as_short_as_it_can_be() {
    let name: UserName = "demo".parse().unwrap();
    let be = Country::parse("be");
    for (label, country, printed) in [
        ("chip1", None, "demo-line-chip1"),
        ("chip1", be, "demo-line-chip1-country-be"),
        ("default", None, "demo"),
        ("default", be, "demo-line-default-country-be"),
        ("default_be", be, "demo-country-be"),
        ("default_be", None, "demo-line-default_be"),
        ("session.a", be, "demo-session-a-country-be"),
    ] {
        let label: LineLabel = label.parse().unwrap();
        let user = user_name(&name, &label, country);
        assert_eq!(user, printed);
        let read = ok(&user);
        assert_eq!((read.line_label(), read.country), (label, country), "{user}");
    }
}

fn specs() -> impl Strategy<Value = UserSpec> {
    let target = prop_oneof![
        Just((None, None)),
        "[A-Za-z0-9_.]{1,64}"
            .prop_filter("kept for sessions", |l| !l.starts_with("session."))
            .prop_map(|l| (Some(LineLabel::new(l).unwrap()), None)),
        "[A-Za-z0-9_.]{1,56}".prop_map(|s| (None, Some(Session::new(&s).unwrap()))),
    ];
    let country = prop::option::of((0usize..249).prop_map(|n| Country::all().nth(n).unwrap()));
    let class = prop::option::of(prop::sample::select(vec![
        ProxyClass::Isp,
        ProxyClass::Datacenter,
        ProxyClass::Residential,
        ProxyClass::Mobile,
    ]));
    ("[a-z0-9_]{1,32}", target, country, prop::option::of(1u32..=LIFE_MAX_MIN), class).prop_map(
        |(name, (line, session), country, life_min, class)| UserSpec {
            name: UserName::new(name).unwrap(),
            line,
            session,
            country,
            life_min,
            class,
        },
    )
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(spec in specs()) {
        let printed = spec.to_string();
        prop_assert!(printed.len() <= MAX_LEN);
        prop_assert_eq!(parse(&printed).unwrap(), spec);
    }

    #[test]
    fn no_text_is_too_strange(s in "\\PC*") {
        let _ = parse(&s);
    }

    #[test]
    fn no_mixture_of_the_grammars_own_words_is_too_strange(
        words in prop::collection::vec(
            prop::sample::select(vec!["demo", "line", "session", "country", "be", "life", "5", "type", "isp", "",
                "6f1c2a44", "09ab", "4cde", "8f01", "23456789abcd", "é", "\0"]),
            0..20,
        ),
    ) {
        if let Ok(spec) = parse(&words.join("-")) {
            prop_assert_eq!(parse(&spec.to_string()).unwrap(), spec);
        }
    }
}
