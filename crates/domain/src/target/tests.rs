use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;

mod spellings;

fn refused(r: Result<impl fmt::Debug, Refusal>, what: &str) -> Code {
    match r {
        Ok(v) => panic!("{what:?} was taken for {v:?}"),
        Err(e) => e.code,
    }
}

#[test]
fn targets_are_read_in_their_plain_forms() {
    for (written, read) in [
        ("example.com:443", "example.com:443"),
        ("EXAMPLE.com.:1", "example.com:1"),
        ("xn--bcher-kva.example:65535", "xn--bcher-kva.example:65535"),
        ("r3---sn-4g5e6nze.googlevideo.com:443", "r3---sn-4g5e6nze.googlevideo.com:443"),
        ("_dmarc.foo-.example:80", "_dmarc.foo-.example:80"),
        ("93.184.216.34:80", "93.184.216.34:80"),
        ("[2606:2800:220:1::]:443", "[2606:2800:220:1::]:443"),
        ("[::ffff:1.2.3.4]:443", "[::ffff:1.2.3.4]:443"),
        ("origin.test:80", "origin.test:80"),
        ("127.0.0.1.nip.io:80", "127.0.0.1.nip.io:80"),
        ("0x7f.one:80", "0x7f.one:80"),
    ] {
        let target = parse_authority(written).unwrap();
        assert_eq!(target.to_string(), read);
        assert_eq!(parse_authority(read).unwrap(), target);
        assert_eq!(parse_host(&target.host.to_string()).unwrap(), target.host);
    }
    assert!(matches!(parse_host("1.2.3.4").unwrap(), Host::Ip(IpAddr::V4(_))));
}

#[test]
fn malformed_targets_are_refused_not_repaired() {
    let label_64 = format!("{}.com:80", "a".repeat(64));
    let name_254 = format!("{}.{}:80", "a.".repeat(126), "bb");
    let huge = format!("{}:80", "a".repeat(100_000));
    for s in [
        "",
        ":",
        ":443",
        "example.com",
        "example.com:",
        "example.com:0",
        "example.com:00443",
        "example.com:080",
        "example.com:65536",
        "example.com:4294967739",
        "example.com:+80",
        "example.com:-1",
        "example.com:80a",
        "example.com:80 ",
        " example.com:80",
        "exam ple.com:80",
        "example.com\0.evil:80",
        "example.com\r\nHost: x:80",
        "example.com\t:80",
        "user@example.com:80",
        "user:pass@example.com:80",
        "example.com/path:80",
        "example.com?x:80",
        "http://example.com:80",
        "example.com\\@evil:80",
        "exa%6dple.com:80",
        ".:80",
        "..:80",
        ".example.com:80",
        "example..com:80",
        "example.com..:80",
        "::1:80",
        "2606:2800::1:443",
        "[::1]",
        "[::1:80",
        "::1]:80",
        "[]:80",
        "[1.2.3.4]:80",
        "[::1]x:80",
        "[fe80::1%eth0]:80",
        "[fe80::1%25eth0]:80",
        "[::g]:80",
        "[:::1]:80",
        "[1:2:3:4:5:6:7:8:9]:80",
        "bücher.example:80",
        "１２７.0.0.1:80",
        "example。com:80",
        &label_64,
        &name_254,
        &huge,
    ] {
        assert_eq!(refused(parse_authority(s), s), Code::RequestInvalid, "{s:?}");
    }
    assert!(parse_authority(&format!("{}.com:80", "a".repeat(63))).is_ok());
    assert!(parse_authority(&format!("{}a.:65535", "a.".repeat(126))).is_ok(), "253 characters and a dot");
    for s in ["example.com:80", "::1", "a b", ""] {
        assert_eq!(refused(parse_host(s), s), Code::RequestInvalid, "{s:?}");
    }
}

#[test]
fn odd_numeric_forms_are_blocked_not_interpreted() {
    for host in [
        "0x7f.1",
        "0x7f000001",
        "0X7F.0.0.1",
        "2130706433",
        "127.1",
        "127.0.1",
        "0177.0.0.1",
        "127.0.0.01",
        "127.0.0.0x1",
        "127.0.0.1.",
        "1.2.3.4.5",
        "256.1.1.1",
        "0",
        "0x",
        "foo.0x7f",
        "foo.1",
        "99999999999999999999",
    ] {
        assert_eq!(refused(parse_authority(&format!("{host}:80")), host), Code::DestBlocked, "{host}");
        assert_eq!(refused(parse_host(host), host), Code::DestBlocked, "{host}");
    }
}

/// Range; whether the address before it and the one after it are allowed (`None` = there is none).
const RANGES: [(&str, Option<bool>, Option<bool>); 32] = [
    ("0.0.0.0/8", None, Some(true)),
    ("10.0.0.0/8", Some(true), Some(true)),
    ("100.64.0.0/10", Some(true), Some(true)),
    ("127.0.0.0/8", Some(true), Some(true)),
    ("169.254.0.0/16", Some(true), Some(true)),
    ("172.16.0.0/12", Some(true), Some(true)),
    ("192.0.0.0/24", Some(true), Some(true)),
    ("192.0.2.0/24", Some(true), Some(true)),
    ("192.88.99.0/24", Some(true), Some(true)),
    ("192.168.0.0/16", Some(true), Some(true)),
    ("198.18.0.0/15", Some(true), Some(true)),
    ("198.51.100.0/24", Some(true), Some(true)),
    ("203.0.113.0/24", Some(true), Some(true)),
    ("224.0.0.0/4", Some(true), Some(false)),
    ("240.0.0.0/4", Some(false), None),
    ("::/96", None, Some(true)),
    ("::ffff:0:0:0/96", Some(true), Some(true)),
    ("64:ff9b::/96", Some(true), Some(true)),
    ("64:ff9b:1::/48", Some(true), Some(true)),
    ("100::/64", Some(true), Some(true)),
    ("2001::/32", Some(true), Some(true)),
    ("2001:2::/48", Some(true), Some(true)),
    ("2001:10::/28", Some(true), Some(false)),
    ("2001:20::/28", Some(false), Some(true)),
    ("2001:db8::/32", Some(true), Some(true)),
    ("2002::/16", Some(true), Some(true)),
    ("3fff::/20", Some(true), Some(true)),
    ("5f00::/16", Some(true), Some(true)),
    ("fc00::/7", Some(true), Some(true)),
    ("fe80::/10", Some(true), Some(false)),
    ("fec0::/10", Some(false), Some(false)),
    ("ff00::/8", Some(false), None),
];

fn step(ip: IpAddr, up: bool) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) => {
            let n = ip.to_bits();
            if up { n.checked_add(1) } else { n.checked_sub(1) }.map(|n| IpAddr::V4(Ipv4Addr::from_bits(n)))
        }
        IpAddr::V6(ip) => {
            let n = ip.to_bits();
            if up { n.checked_add(1) } else { n.checked_sub(1) }.map(|n| IpAddr::V6(Ipv6Addr::from_bits(n)))
        }
    }
}

fn allowed(ip: IpAddr) -> bool {
    let dialled = check_dial_address(ip, &[]);
    let asked = Policy::default().check_through_upstream(&Target { host: Host::Ip(ip), port: 443 });
    assert_eq!(dialled.is_ok(), asked.is_ok(), "{ip}");
    if let Err(e) = &dialled {
        assert_eq!(e.code, Code::DestBlocked);
    }
    dialled.is_ok()
}

#[test]
fn special_ranges_are_refused_from_their_first_to_their_last_address() {
    for (range, before, after) in RANGES {
        let net: IpNet = range.parse().unwrap();
        assert!(!allowed(net.network()), "first of {range}");
        assert!(!allowed(net.broadcast()), "last of {range}");
        assert_eq!(step(net.network(), false).map(allowed), before, "before {range}");
        assert_eq!(step(net.broadcast(), true).map(allowed), after, "after {range}");
    }
}

#[test]
fn mapped_addresses_are_judged_as_what_they_map() {
    for (range, before, after) in RANGES {
        let net: IpNet = range.parse().unwrap();
        let (IpAddr::V4(first), IpAddr::V4(last)) = (net.network(), net.broadcast()) else { continue };
        let mapped = |ip: Ipv4Addr| IpAddr::V6(ip.to_ipv6_mapped());
        assert!(!allowed(mapped(first)) && !allowed(mapped(last)), "{range}");
        let below = first.to_bits().checked_sub(1).map(|n| allowed(mapped(Ipv4Addr::from_bits(n))));
        let above = last.to_bits().checked_add(1).map(|n| allowed(mapped(Ipv4Addr::from_bits(n))));
        assert_eq!((below, above), (before, after), "{range}");
    }
}

#[test]
fn places_that_attackers_ask_for_are_refused() {
    for ip in [
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "fd00:ec2::254",
        "255.255.255.255",
        "0.0.0.0",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ] {
        assert!(!allowed(ip.parse().unwrap()), "{ip}");
    }
    for ip in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001:81b::200e"] {
        assert!(allowed(ip.parse().unwrap()), "{ip}");
    }
}

#[test]
fn an_operators_allowance_opens_exactly_its_range() {
    let allow: Vec<IpNet> = vec!["127.0.0.2/32".parse().unwrap(), "fd00::/64".parse().unwrap()];
    for (ip, ok) in [
        ("127.0.0.2", true),
        ("::ffff:127.0.0.2", true),
        ("127.0.0.1", false),
        ("127.0.0.3", false),
        ("fd00::7", true),
        ("fd00:0:0:1::7", false),
        ("8.8.8.8", true),
    ] {
        assert_eq!(check_dial_address(ip.parse().unwrap(), &allow).is_ok(), ok, "{ip}");
    }
}

#[test]
fn names_pass_unresolved_except_local_and_denied_ones() {
    let policy = Policy {
        denied_names: vec!["bad.example".into(), "*.Worse.Example.".into(), String::new(), ".".into()],
        denied_ports: vec![25, 465],
    };
    for (name, ok) in [
        ("example.com", true),
        ("origin.test", true),
        ("notlocalhost", true),
        ("localhost.example.com", true),
        ("localhost", false),
        ("LOCALHOST.", false),
        ("a.localhost", false),
        ("metadata.google.internal", false),
        ("metadata", false),
        ("ip-10-0-0-1.ec2.internal", false),
        ("printer.local", false),
        ("bad.example", false),
        ("www.bad.example", false),
        ("notbad.example", true),
        ("example", true),
        ("worse.example", false),
        ("a.b.worse.example", false),
    ] {
        let target = parse_authority(&format!("{name}:443")).unwrap();
        let r = policy.check_through_upstream(&target);
        assert_eq!(r.is_ok(), ok, "{name}");
        assert!(r.is_ok() || r.unwrap_err().code == Code::DestBlocked);
    }
}

#[test]
fn denied_ports_are_refused_on_every_host() {
    let policy = Policy::default();
    for (target, ok) in [
        ("example.com:25", false),
        ("1.1.1.1:25", false),
        ("example.com:24", true),
        ("example.com:26", true),
        ("example.com:443", true),
    ] {
        assert_eq!(policy.check_through_upstream(&parse_authority(target).unwrap()).is_ok(), ok, "{target}");
    }
    let open = Policy { denied_ports: Vec::new(), ..policy };
    assert!(open.check_through_upstream(&parse_authority("example.com:25").unwrap()).is_ok());
}

proptest! {
    #[test]
    fn no_text_is_too_strange(s in "\\PC*") {
        let _ = parse_authority(&s);
        let _ = parse_host(&s);
    }

    #[test]
    fn what_is_read_prints_and_reads_the_same(s in "[a-zA-Z0-9.:\\[\\]_-]{1,40}:[0-9]{1,5}") {
        if let Ok(target) = parse_authority(&s) {
            prop_assert_eq!(parse_authority(&target.to_string()).unwrap(), target);
        }
    }

    #[test]
    fn no_spelling_of_an_address_gets_past_the_ranges(n in any::<u32>()) {
        let ip = Ipv4Addr::from_bits(n);
        for s in [format!("{n}"), format!("{n:#x}"), format!("{n:#o}").replacen("0o", "0", 1), ip.to_string()] {
            match parse_host(&s) {
                Ok(Host::Ip(IpAddr::V4(read))) => prop_assert_eq!(read, ip),
                Ok(other) => prop_assert!(false, "{} was taken for {:?}", s, other),
                Err(e) => prop_assert_eq!(e.code, Code::DestBlocked),
            }
        }
    }
}
