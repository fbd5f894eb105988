use proptest::prelude::*;
use secrecy::ExposeSecret;
use tollgate_domain::refusal::{Code, Refusal};

use super::super::client;
use super::super::server::*;
use super::*;

/// As the parser, but comparable.
#[allow(clippy::type_complexity)] // the parser's own, in pairs
fn pair(buf: &[u8]) -> Result<Option<((String, String), usize)>, Refusal> {
    let read = credentials(buf)?;
    Ok(read.map(|(c, n)| ((c.user, c.password.expose_secret().to_owned()), n)))
}

fn ask(command: u8, address: &[u8]) -> Vec<u8> {
    [&[5, command, 0], address].concat()
}

/// The reply code and the code of a request that is refused at its last byte.
fn no(frame: &[u8]) -> (u8, Code) {
    let refused = refused_at_end(request, frame);
    (refused.reply, refused.refusal.code)
}

#[test]
fn a_greeting_offers_methods() {
    let is = |none, password| Greeting { none, password };
    exactly(greeting, &[5, 1, 0], is(true, false));
    exactly(greeting, &[5, 1, 2], is(false, true));
    exactly(greeting, &[5, 3, 0, 1, 2], is(true, true));
    exactly(greeting, &[5, 2, 1, 0x80], is(false, false));
    let all: Vec<u8> = (0..255).collect();
    exactly(greeting, &[&[5, 255], &all[..]].concat(), is(true, true));
    exactly(greeting, &[&[5, 255], &[0xFE; 255][..]].concat(), is(false, false));
    for version in (0..=u8::MAX).filter(|v| *v != 5) {
        assert_eq!(refused_at_end(greeting, &[version]).code, Code::RequestInvalid);
    }
    assert_eq!(refused_at_end(greeting, &[5, 0]).code, Code::RequestInvalid);
}

#[test]
fn credentials_are_read_within_their_lengths() {
    let frame = |user: &[u8], password: &[u8]| {
        let n = |b: &[u8]| u8::try_from(b.len()).unwrap();
        [&[1, n(user)], user, &[n(password)], password].concat()
    };
    let is = |user: &str, password: &str| (user.to_owned(), password.to_owned());
    exactly(pair, &frame(b"demo-line-chip1", b"secret"), is("demo-line-chip1", "secret"));
    exactly(pair, &frame(b"d", b""), is("d", ""));
    exactly(pair, &frame("dé".as_bytes(), "pé:\0".as_bytes()), is("dé", "pé:\0"));
    let long = "x".repeat(255);
    let most = frame(long.as_bytes(), long.as_bytes());
    assert_eq!(most.len(), MAX_FRAME);
    exactly(pair, &most, is(&long, &long));
    for bad in [frame(b"", b"secret"), frame(b"d\xFF", b"secret"), frame(b"d", b"\xC3"), frame(b"", b"")] {
        assert_eq!(refused_at_end(pair, &bad).code, Code::AuthFailed);
    }
    for version in (0..=u8::MAX).filter(|v| *v != 1) {
        assert_eq!(refused_at_end(pair, &[version]).code, Code::RequestInvalid);
    }
}

#[test]
fn no_password_is_printed() {
    let (read, _) = credentials(b"\x01\x04demo\x06secret").unwrap().unwrap();
    assert!(!format!("{read:?}").contains("secret"));
}

#[test]
fn a_tunnel_is_asked_for_by_address_or_name() {
    let is = |s: &str| Request::Connect(target(s));
    exactly(request, &ask(1, &v4([93, 184, 216, 34], 443)), is("93.184.216.34:443"));
    exactly(request, &ask(1, &v6("2606:4700::1", 1)), is("[2606:4700::1]:1"));
    exactly(request, &ask(1, &name(b"Example.COM.", 65535)), is("example.com:65535"));
    // Literals written as names are literals: they must not escape the ranges.
    exactly(request, &ask(1, &name(b"127.0.0.1", 80)), is("127.0.0.1:80"));
    exactly(request, &ask(1, &name(b"[::1]", 80)), is("[::1]:80"));
    let longest = format!("{}a", "a.".repeat(126));
    assert_eq!(longest.len(), 253);
    exactly(request, &ask(1, &name(longest.as_bytes(), 80)), is(&format!("{longest}:80")));
    exactly(request, &ask(1, &name(b"x", 80)), is("x:80"));
}

#[test]
fn hosts_follow_the_rules_of_connect() {
    for (host, code) in [
        (&b""[..], Code::RequestInvalid),
        (b"::1", Code::RequestInvalid),
        (b"fe80::1%eth0", Code::RequestInvalid),
        (b"[fe80::1%25eth0]", Code::RequestInvalid),
        (b"a.test\0.evil", Code::RequestInvalid),
        (b"\0", Code::RequestInvalid),
        (b"user@a.test", Code::RequestInvalid),
        (b"a.test:80", Code::RequestInvalid),
        (b"a test", Code::RequestInvalid),
        (b"a.test\r\nX: y", Code::RequestInvalid),
        (b"a..test", Code::RequestInvalid),
        (b"\xFF\xFE", Code::RequestInvalid),
        ("bücher.example".as_bytes(), Code::RequestInvalid),
        (&[b'a'; 64], Code::RequestInvalid),
        (&[b'a'; 255], Code::RequestInvalid),
        (b"0x7f.1", Code::DestBlocked),
        (b"2130706433", Code::DestBlocked),
        (b"127.1", Code::DestBlocked),
        (b"0177.0.0.1", Code::DestBlocked),
        (b"127.0.0.1.", Code::DestBlocked),
    ] {
        for command in [1, 3] {
            let reply = if code == Code::DestBlocked { reply::NOT_ALLOWED } else { reply::GENERAL_FAILURE };
            assert_eq!(no(&ask(command, &name(host, 80))), (reply, code), "{}", host.escape_ascii());
        }
    }
}

#[test]
fn what_cannot_be_served_has_its_reply_code() {
    let invalid = (reply::GENERAL_FAILURE, Code::RequestInvalid);
    for address in [v4([1, 1, 1, 1], 0), v6("2606:4700::1", 0), name(b"a.test", 0)] {
        assert_eq!(no(&ask(1, &address)), invalid, "port 0");
    }
    for command in (0..=u8::MAX).filter(|c| !matches!(c, 1 | 3)) {
        for address in [v4([1, 1, 1, 1], 80), v4([0; 4], 0), name(b"a.test", 80)] {
            let expected = (reply::COMMAND_NOT_SUPPORTED, Code::MethodNotAllowed);
            assert_eq!(no(&ask(command, &address)), expected, "command {command}");
        }
    }
    for kind in (0..=u8::MAX).filter(|k| !matches!(k, 1 | 3 | 4)) {
        let expected = (reply::ADDRESS_TYPE_NOT_SUPPORTED, Code::RequestInvalid);
        assert_eq!(no(&[5, 1, 0, kind]), expected, "type {kind}");
    }
    for reserved in 1..=u8::MAX {
        assert_eq!(no(&[&[5, 1, reserved], &v4([1, 1, 1, 1], 80)[..]].concat()), invalid, "reserved {reserved}");
    }
    for version in (0..=u8::MAX).filter(|v| *v != 5) {
        assert_eq!(no(&[version]), invalid, "version {version}");
    }
}

#[test]
fn a_relay_for_datagrams_may_say_where_they_come_from() {
    let is = |ip: Option<&str>, port| Request::UdpAssociate { ip: ip.map(|s| s.parse().unwrap()), port };
    exactly(request, &ask(3, &v4([0; 4], 0)), is(None, 0));
    exactly(request, &ask(3, &v4([0; 4], 5353)), is(None, 5353));
    exactly(request, &ask(3, &v4([192, 0, 2, 1], 5353)), is(Some("192.0.2.1"), 5353));
    exactly(request, &ask(3, &v6("::", 0)), is(None, 0));
    exactly(request, &ask(3, &v6("2001:db8::1", 9)), is(Some("2001:db8::1"), 9));
    exactly(request, &ask(3, &v6("::ffff:192.0.2.1", 9)), is(Some("192.0.2.1"), 9));
    exactly(request, &ask(3, &name(b"localhost", 9)), is(None, 9));
}

#[test]
fn answers_are_written_as_the_rfcs_say() {
    assert_eq!(NO_ACCEPTABLE_METHOD, [5, 0xFF]);
    assert_eq!((chosen(Method::None), chosen(Method::Password)), ([5, 0], [5, 2]));
    assert_eq!((auth_status(true), auth_status(false)), ([1, 0], [1, 1]));
    assert_eq!(reply(0, socket("192.0.2.1:258")), [5, 0, 0, 1, 192, 0, 2, 1, 1, 2]);
    assert_eq!(reply(0, socket("[::ffff:192.0.2.1]:258")), [5, 0, 0, 1, 192, 0, 2, 1, 1, 2]);
    let six = [&[5, 0, 0, 4], &[0; 15][..], &[1, 0, 80]].concat();
    assert_eq!(reply(0, socket("[::1]:80")), six);
    assert_eq!(refused(Code::DestBlocked.socks_reply()), [5, 2, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(SOCKS4_REFUSAL, [0, 0x5B, 0, 0, 0, 0, 0, 0]);
}

proptest! {
    #[test]
    fn what_clients_ask_for_is_what_we_read(ip in any::<std::net::IpAddr>(), port in 1u16.., bytes in "[a-z][a-z0-9-]{0,62}") {
        for host in [Host::Ip(ip), Host::Name(bytes)] {
            let target = Target { host, port };
            let frame = client::request(client::Ask::Connect(&target)).unwrap();
            prop_assert_eq!(request(&frame), Ok(Some((Request::Connect(target), frame.len()))));
        }
    }

    #[test]
    fn what_we_answer_is_what_clients_read(at in any::<std::net::SocketAddr>()) {
        let answer = reply(0, at);
        let canonical = SocketAddr::new(at.ip().to_canonical(), at.port());
        prop_assert_eq!(client::answer(&answer), Ok(Some((Some(canonical), answer.len()))));
    }
}
