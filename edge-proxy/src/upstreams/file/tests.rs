use proptest::prelude::*;
use secrecy::ExposeSecret;
use tollgate_domain::upstream::Scheme;

use super::*;

fn provider() -> ProviderId {
    "file".parse().unwrap()
}

/// Scheme, host, port and credentials of the only row.
fn one(text: &str) -> (Scheme, String, u16, Option<(String, String)>) {
    let parsed = parse(text.as_bytes(), &provider());
    assert_eq!((parsed.rows.len(), parsed.problems.len()), (1, 0), "{text}: {:?}", parsed.problems);
    let u = &parsed.rows[0].upstream;
    let credentials = u.credentials.as_ref().map(|(user, p)| (user.clone(), p.expose_secret().to_owned()));
    (u.scheme, u.host.clone(), u.port, credentials)
}

fn code(text: &[u8]) -> &'static str {
    let parsed = parse(text, &provider());
    assert!(parsed.rows.is_empty(), "{:?}", parsed.rows);
    parsed.problems[0].code
}

#[test]
fn every_form_is_understood() {
    let account = |u: &str, p: &str| Some((u.to_owned(), p.to_owned()));
    let v4 = || "203.0.113.7".to_owned();
    let http = Scheme::Http;
    assert_eq!(one("203.0.113.7:8080"), (http, v4(), 8080, None));
    assert_eq!(one("203.0.113.7:8080:bob:secret"), (http, v4(), 8080, account("bob", "secret")));
    assert_eq!(one("bob:secret@203.0.113.7:8080"), (http, v4(), 8080, account("bob", "secret")));
    assert_eq!(one("203.0.113.7:8080:bob:a:b@c"), (http, v4(), 8080, account("bob", "a:b@c")));
    assert_eq!(one("bob:a@b:c#d@203.0.113.7:8080"), (http, v4(), 8080, account("bob", "a@b:c#d")));
    assert_eq!(one("[2001:DB8::0:1]:1:u:p"), (http, "2001:db8::1".into(), 1, account("u", "p")));
    assert_eq!(one("u:@Gate.Example.COM:22225"), (http, "gate.example.com".into(), 22225, account("u", "")));
    let url = "socks5h://u%40x:p%3a%2F%23@[::1]:1080/";
    assert_eq!(one(url), (Scheme::Socks5, "::1".into(), 1080, account("u@x", "p:/#")));
    assert_eq!(one("HTTPS://h.example:443"), (Scheme::Https, "h.example".into(), 443, None));
    assert_eq!(one("http://brd-{session}-{country}:p@h.example:1").3, account("brd-{session}-{country}", "p"));
    assert_eq!(one("3proxy:3128").1, "3proxy");
    assert_eq!(one("direct"), (Scheme::Direct, String::new(), 0, None));
}

#[test]
fn attributes_follow_and_comments_end_a_line() {
    let text = "# list\r\n\r\n  \n1.2.3.4:80 owner=bot country=UK name=lon-1 # ours\r\n5.6.7.8:80\t#x=y";
    let parsed = parse(&[b"\xef\xbb\xbf", text.as_bytes()].concat(), &provider());
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    let first = &parsed.rows[0].upstream;
    assert_eq!(first.owner.as_ref().unwrap().as_str(), "bot");
    assert_eq!(first.country.unwrap().as_str(), "gb");
    assert_eq!(first.id.to_string(), "file/lon-1");
    assert_eq!(parsed.rows[1].upstream.id.to_string(), "file/5.6.7.8:80");
}

#[test]
fn bad_lines_are_reported_by_number_and_the_others_are_taken() {
    let text = b"1.1.1.1:1\nwhat\n1.1.1.2:1\n";
    let parsed = parse(text, &provider());
    assert_eq!(parsed.rows.len(), 2);
    assert_eq!((parsed.problems[0].line, parsed.problems[0].code), (2, "FORM_UNKNOWN"));
    for (line, expected) in [
        ("ftp://h.example:1", "SCHEME_UNKNOWN"),
        ("direct://h.example:1", "SCHEME_UNKNOWN"),
        ("1.2.3.4:0", "PORT_INVALID"),
        ("1.2.3.4:65536", "PORT_INVALID"),
        ("1.2.3.4:+80", "PORT_INVALID"),
        ("http://h.example", "PORT_INVALID"),
        ("http://h.example:80/path", "PORT_INVALID"),
        ("127.1:80", "HOST_INVALID"),
        ("0x7f000001:80", "HOST_INVALID"),
        ("::1:80", "HOST_INVALID"),
        ("[::1:80", "HOST_INVALID"),
        ("h..example:80", "HOST_INVALID"),
        ("h.example:80:user", "FORM_UNKNOWN"),
        ("[::1]80", "FORM_UNKNOWN"),
        (":p@1.2.3.4:80", "CREDENTIALS_INVALID"),
        ("http://u:%zz@1.2.3.4:80", "CREDENTIALS_INVALID"),
        ("http://u:%0a@1.2.3.4:80", "CREDENTIALS_INVALID"),
        ("http://u%3a:p@1.2.3.4:80", "CREDENTIALS_INVALID"),
        ("http://u:%ff@1.2.3.4:80", "CREDENTIALS_INVALID"),
        ("1.2.3.4:80 owner=Bot!", "ATTRIBUTE_INVALID"),
        ("1.2.3.4:80 country=xx", "ATTRIBUTE_INVALID"),
        ("1.2.3.4:80 name=a name=b", "ATTRIBUTE_INVALID"),
        ("1.2.3.4:80 pool=a pool=a", "ATTRIBUTE_INVALID"),
        ("1.2.3.4:80 pool=", "ATTRIBUTE_INVALID"),
        ("1.2.3.4:80 speed=9", "ATTRIBUTE_INVALID"),
        ("1.2.3.4:80 name=a#b", "ATTRIBUTE_INVALID"),
    ] {
        assert_eq!(code(line.as_bytes()), expected, "{line}");
    }
    assert_eq!(code(b"\xff"), "NOT_TEXT");
    assert_eq!(code(&[b'a'; MAX_LINE + 1]), "LINE_TOO_LONG");
}

#[test]
fn duplicates_are_dropped_and_named_by_the_first_line() {
    let text = "u:a@1.2.3.4:80\n1.2.3.4:80:u:b\nhttp://v:a@1.2.3.4:80\n1.2.3.4:80 name=x\n5.6.7.8:80 name=x\n";
    let parsed = parse(text.as_bytes(), &provider());
    assert_eq!(parsed.rows.len(), 3);
    let told: Vec<_> = parsed.problems.iter().map(|p| (p.line, p.code, p.why.as_str())).collect();
    assert_eq!(told, [(2, "DUPLICATE", "the same upstream as in line 1"), (5, "NAME_TAKEN", "line 4 has this name")]);
    // Two accounts at one gateway are two upstreams, named apart.
    assert_ne!(parsed.rows[0].upstream.id, parsed.rows[1].upstream.id);
}

#[test]
fn names_fit_an_id_and_depend_on_the_line_alone() {
    let host = format!("{}.example", ["a"; 30].join("."));
    for line in [format!("u:p@{host}:65535"), format!("{host}:65535"), format!("socks5://{host}:1")] {
        let a = parse(line.as_bytes(), &provider()).rows.remove(0);
        let b = parse(format!("9.9.9.9:1\n{line}").as_bytes(), &provider()).rows.remove(1);
        assert_eq!(a.upstream.id, b.upstream.id);
        assert_eq!(a.upstream.id.to_string().parse(), Ok(a.upstream.id.clone()));
        assert!(!a.upstream.id.ip.contains(['#', '/']));
    }
}

#[test]
fn too_many_lines_are_reported_once() {
    let text = "#\n".repeat(MAX_LINES);
    assert!(parse(text.as_bytes(), &provider()).problems.is_empty());
    let parsed = parse((text + "#\n#\n1.2.3.4:80\n").as_bytes(), &provider());
    assert!(parsed.rows.is_empty());
    assert_eq!((parsed.problems.len(), parsed.problems[0].code), (1, "TOO_MANY_LINES"));
}

#[test]
fn lines_that_are_there_again_are_the_same_rows_again() {
    let mut known = Known::default();
    let mut read = |text: &str| parse_again(text.as_bytes(), &provider(), &mut known);
    let first = read("u:a@1.2.3.4:80\nwhat\n5.6.7.8:80 pool=x\n9.9.9.9:1\n");
    // Moved, changed, gone; what is wrong is told each time.
    let second = read("5.6.7.8:80 pool=x\nwhat\nu:b@1.2.3.4:80\n");
    assert!(Arc::ptr_eq(&second.rows[0].upstream, &first.rows[1].upstream));
    assert_eq!(second.rows[0].upstream.pool.as_deref(), Some("x"));
    assert_eq!(second.rows[1].identity, first.rows[0].identity);
    assert!(!Arc::ptr_eq(&second.rows[1].upstream, &first.rows[0].upstream));
    assert_eq!((second.problems.len(), second.problems[0].line), (1, 2));
    // A line twice is a duplicate though it is known.
    let third = read("5.6.7.8:80 pool=x\n5.6.7.8:80 pool=x\n");
    assert_eq!((third.rows.len(), third.problems[0].code), (1, "DUPLICATE"));
    assert_eq!(known.len(), 1);
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic_and_no_report_repeats_them(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        parse(&bytes, &provider());
    }

    #[test]
    fn no_report_or_debug_text_holds_the_password(
        form in 0..5usize, junk in "[a-z:/@#\\[\\]=% ]{0,12}", broken in any::<bool>(),
    ) {
        let secret = "Zq9Zq9Zq9";
        let end = if broken { junk.as_str() } else { "" };
        let line = match form {
            0 => format!("u:{secret}@1.2.3.4:80{end}"),
            1 => format!("1.2.3.4:80:u:{secret}{end}"),
            2 => format!("http://u:{secret}@1.2.3.4:80{end}"),
            3 => format!("{end}http://u:{secret}@1.2.3.4{end}"),
            _ => format!("{end}{secret}{end}"),
        };
        let parsed = parse(line.as_bytes(), &provider());
        let problems = format!("{:?}", parsed.problems);
        prop_assert!(!problems.contains(secret), "{}", problems);
        if !broken && form < 3 {
            let rows = format!("{:?}", parsed.rows);
            prop_assert!(parsed.rows.len() == 1 && !rows.contains(secret), "{}", rows);
        }
    }

    #[test]
    fn credentials_survive_every_form(user in "[!-9;-~]{1,20}", password in "[!-~]{0,20}") {
        let encode = |s: &str| s.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
        let url = format!("http://{}:{}@h.example:1", encode(&user), encode(&password));
        let expected = Some((user.clone(), password.clone()));
        prop_assert_eq!(one(&url).3, expected.clone());
        if !user.starts_with('#') && !user.contains('@') && !password.starts_with("//") {
            let plain = format!("{user}:{password}@h.example:1");
            prop_assert_eq!(one(&plain).3, expected);
        }
    }
}
