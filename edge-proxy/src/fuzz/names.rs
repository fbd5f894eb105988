//! User names and targets.

use tollgate_domain::target::{Host, Policy, parse_authority, parse_host};
use tollgate_domain::username;

use super::{ensure, fuzz};

const USER_WORDS: &[&[u8]] = &[
    b"-",
    b"--",
    b"-line-",
    b"-session-",
    b"-country-",
    b"-life-",
    b"-type-",
    b"line",
    b"session",
    b"country",
    b"be",
    b"UK",
    b"default",
    b"default_be",
    b"session.",
    b"isp",
    b"datacenter",
    b"residential",
    b"mobile",
    b"1",
    b"1440",
    b"1441",
    b"demo",
    b"6f1c2a44-09ab-4cde-8f01-23456789abCD",
    b"6f1c2a44",
    b".",
    b"_",
    b"\0",
    b"\xC3\xA9",
    b"%",
    b":",
];

#[test]
fn user_names() {
    fuzz("user_name", USER_WORDS, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let Ok(spec) = username::parse(&text) else { return Ok(false) };
        let printed = spec.to_string();
        ensure(printed.len() <= text.len(), || format!("it is printed longer: {printed}"))?;
        let again = username::parse(&printed).map_err(|e| format!("{printed}: {e}"))?;
        ensure(again == spec, || format!("{printed} is {again:?}, not {spec:?}"))?;
        ensure(again.line_label() == spec.line_label(), || "another line".to_owned())?;
        Ok(true)
    });
}

const TARGET_WORDS: &[&[u8]] = &[
    b":",
    b":443",
    b":0",
    b":65535",
    b":65536",
    b".",
    b"..",
    b"[",
    b"]",
    b"[::1]",
    b"::1",
    b"::ffff:1.2.3.4",
    b"%eth0",
    b"%25",
    b"@",
    b"user@",
    b"/",
    b"?",
    b"#",
    b"\\",
    b" ",
    b"\r\n",
    b"\0",
    b"0x7f",
    b"0177",
    b"127.0.0.1",
    b"2130706433",
    b"localhost",
    b"xn--",
    b"a",
    b"-",
    b"_",
    b"\xC3\xBC",
    b"\xEF\xBC\x91",
    b"example.com",
];

#[test]
fn targets() {
    fuzz("target", TARGET_WORDS, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let Ok(target) = parse_authority(&text) else { return Ok(false) };
        let printed = target.to_string();
        let again = parse_authority(&printed).map_err(|e| format!("{printed}: {e}"))?;
        ensure(again == target && target.port != 0, || format!("{printed} is {again:?}, not {target:?}"))?;
        let host = parse_host(&target.host.to_string());
        ensure(host.as_ref() == Ok(&target.host), || format!("the host alone is {host:?}"))?;
        let _ = Policy::default().check_through_upstream(&target);
        if let Host::Name(name) = &target.host {
            let plain = name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'));
            ensure(plain && name.len() <= 253, || format!("{name:?} is taken for a name"))?;
            let last = name.rsplit('.').next().unwrap_or_default();
            ensure(!last.bytes().all(|b| b.is_ascii_digit()), || format!("{name} is an address to some"))?;
        }
        Ok(true)
    });
}
