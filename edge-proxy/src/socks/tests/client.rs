use secrecy::SecretString;
use tollgate_domain::refusal::{Code, Refusal};

use super::super::client::*;
use super::super::server;
use super::*;

/// As the others: a value and a length.
fn choice(offered: Method) -> impl Fn(&[u8]) -> Result<Option<((), usize)>, Refusal> {
    move |buf| Ok(chosen(buf, offered)?.map(|n| ((), n)))
}

fn status(buf: &[u8]) -> Result<Option<((), usize)>, Refusal> {
    Ok(auth_status(buf)?.map(|n| ((), n)))
}

#[test]
fn only_the_method_that_is_meant_is_offered_and_taken() {
    for method in [Method::None, Method::Password] {
        let offered = server::greeting(&greeting(method)).unwrap().unwrap();
        let is = server::Greeting { none: method == Method::None, password: method == Method::Password };
        assert_eq!(offered, (is, 3));
        exactly(choice(method), &server::chosen(method), ());
        assert_eq!(refused_at_end(choice(method), &[5, 0xFF]).code, Code::UpstreamAuth);
        for other in (0..0xFF).filter(|c| *c != server::chosen(method)[1]) {
            assert_eq!(refused_at_end(choice(method), &[5, other]).code, Code::UpstreamConnect, "{other}");
        }
        for version in (0..=u8::MAX).filter(|v| *v != 5) {
            assert_eq!(refused_at_end(choice(method), &[version]).code, Code::UpstreamConnect, "{version}");
        }
    }
}

#[test]
fn credentials_fit_or_are_not_sent() {
    let write = |user: &str, password: &str| credentials(user, &SecretString::from(password.to_owned()));
    assert_eq!(write("u", "pw").unwrap(), b"\x01\x01u\x02pw");
    assert_eq!(write("u", "").unwrap(), b"\x01\x01u\x00");
    let (most, more) = ("x".repeat(255), "x".repeat(256));
    assert_eq!(write(&most, &most).unwrap().len(), MAX_FRAME);
    for (user, password) in [("", "pw"), (&more, "pw"), ("u", &more)] {
        assert_eq!(write(user, password).unwrap_err().code, Code::UpstreamAuth);
    }
}

#[test]
fn the_status_of_credentials_decides() {
    exactly(status, &[1, 0], ());
    exactly(status, &[5, 0], ());
    for code in 1..=u8::MAX {
        assert_eq!(refused_at_end(status, &[1, code]).code, Code::UpstreamAuth, "{code}");
    }
    for version in (0..=u8::MAX).filter(|v| !matches!(v, 1 | 5)) {
        assert_eq!(refused_at_end(status, &[version]).code, Code::UpstreamConnect, "{version}");
    }
}

#[test]
fn requests_are_written_as_the_rfc_says() {
    let connect = |s: &str| request(Ask::Connect(&target(s))).unwrap();
    assert_eq!(connect("a.test:443"), b"\x05\x01\x00\x03\x06a.test\x01\xBB");
    assert_eq!(connect("192.0.2.1:80"), [5, 1, 0, 1, 192, 0, 2, 1, 0, 80]);
    assert_eq!(connect("[::1]:80"), [&[5, 1, 0, 4], &[0; 15][..], &[1, 0, 80]].concat());
    assert_eq!(request(Ask::UdpAssociate).unwrap(), [5, 3, 0, 1, 0, 0, 0, 0, 0, 0]);
    for n in [0, 256, 70_000] {
        let target = Target { host: Host::Name("x".repeat(n)), port: 80 };
        assert_eq!(request(Ask::Connect(&target)).unwrap_err().code, Code::RequestInvalid, "{n}");
    }
}

#[test]
fn an_answer_is_read_with_any_bound_address() {
    let frame = |reserved: u8, bound: &[u8]| [&[5, 0, reserved], bound].concat();
    exactly(answer, &frame(0, &v4([192, 0, 2, 1], 1080)), Some(socket("192.0.2.1:1080")));
    exactly(answer, &frame(0, &v4([0; 4], 0)), Some(socket("0.0.0.0:0")));
    exactly(answer, &frame(9, &v4([0; 4], 1)), Some(socket("0.0.0.0:1")));
    exactly(answer, &frame(0, &v6("2001:db8::1", 1080)), Some(socket("[2001:db8::1]:1080")));
    exactly(answer, &frame(0, &name(b"gateway.test", 1080)), None);
    exactly(answer, &frame(0, &name(b"", 0)), None);
    exactly(answer, &frame(0, &name(&[0xFF; 255], 0)), None);
    for kind in (0..=u8::MAX).filter(|k| !matches!(k, 1 | 3 | 4)) {
        assert_eq!(refused_at_end(answer, &[5, 0, 0, kind]).code, Code::UpstreamConnect, "{kind}");
    }
    for version in (0..=u8::MAX).filter(|v| *v != 5) {
        assert_eq!(refused_at_end(answer, &[version]).code, Code::UpstreamConnect, "{version}");
    }
}

#[test]
fn a_failure_is_known_by_its_code_alone() {
    for code in 1..=u8::MAX {
        let refusal = refused_at_end(answer, &[5, code]);
        let expected = if code == reply::TTL_EXPIRED { Code::UpstreamTimeout } else { Code::UpstreamConnect };
        assert_eq!(refusal.code, expected, "{code}");
        assert!(refusal.detail.contains(&format!("{code:#04x}")), "{refusal}");
    }
}
