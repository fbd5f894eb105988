//! Odd ways to write an address, over both entry paths.

use super::*;

/// Spellings of 127.0.0.1 and ::1 that something between us and a socket might understand.
#[test]
fn no_odd_spelling_of_loopback_is_an_address_or_a_name() {
    use Code::{DestBlocked, RequestInvalid};
    for (host, code) in [
        // Decimal, octal, hexadecimal and mixed numbers; one to four parts.
        ("2130706433", DestBlocked),
        ("017700000001", DestBlocked),
        ("0x7f000001", DestBlocked),
        ("0X7F000001", DestBlocked),
        ("0x7f.0x0.0x0.0x1", DestBlocked),
        ("0177.0x0.0.1", DestBlocked),
        ("0177.1", DestBlocked),
        ("127.1", DestBlocked),
        ("127.0x1", DestBlocked),
        ("127.0.1", DestBlocked),
        ("127.000.000.001", DestBlocked),
        ("00000000127.0.0.1", DestBlocked),
        ("127.0.0.4294967041", DestBlocked),
        ("0x00000000000000007f000001", DestBlocked),
        ("18446744071545651201", DestBlocked),
        // A dot at the end.
        ("127.0.0.1.", DestBlocked),
        ("2130706433.", DestBlocked),
        ("0x7f.1.", DestBlocked),
        ("127.0.0.1..", RequestInvalid),
        // Zone ids, user info, NUL, escapes, other digits and dots.
        ("127.0.0.1%25lo", RequestInvalid),
        ("[::1%lo]", RequestInvalid),
        ("[::1%25lo]", RequestInvalid),
        ("user@127.0.0.1", RequestInvalid),
        ("@127.0.0.1", RequestInvalid),
        ("example.com#@127.0.0.1", RequestInvalid),
        ("127.0.0.1\0", RequestInvalid),
        ("127.0.0.1\0.example.com", RequestInvalid),
        ("127.0.0.1\n", RequestInvalid),
        ("127.0.0.1 ", RequestInvalid),
        ("%31%32%37.0.0.1", RequestInvalid),
        ("127%2e0%2e0%2e1", RequestInvalid),
        ("１２７.0.0.1", RequestInvalid),
        ("127。0。0。1", RequestInvalid),
        ("127．0．0．1", RequestInvalid),
        ("①②⑦.⓪.⓪.①", RequestInvalid),
        ("\u{200b}127.0.0.1", RequestInvalid),
        ("127.0.0.1/", RequestInvalid),
        ("\\127.0.0.1", RequestInvalid),
        // IPv6 without its brackets, in the wrong ones, or with more in them.
        ("::1", RequestInvalid),
        ("[127.0.0.1]", RequestInvalid),
        ("[2130706433]", RequestInvalid),
        ("[[::1]]", RequestInvalid),
        ("[::1].", RequestInvalid),
        ("[::127.1]", RequestInvalid),
        ("[::1/128]", RequestInvalid),
        ("[ ::1]", RequestInvalid),
        ("[00000::1]", RequestInvalid),
    ] {
        assert_eq!(refused(parse_host(host), host), code, "{host:?}");
        assert_eq!(refused(parse_authority(&format!("{host}:80")), host), code, "{host:?}");
    }
    // Plain ones are read as what they are, and refused as that.
    let plain = [
        "127.0.0.1",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[0000::0001]",
        "[::ffff:127.0.0.1]",
        "[::FFFF:7F00:1]",
        "[::127.0.0.1]",
        "localhost",
        "LOCALHOST.",
        "x.localhost.",
    ];
    for host in plain {
        let target = parse_authority(&format!("{host}:80")).unwrap();
        assert_eq!(parse_host(host).unwrap(), target.host);
        let refused = Policy::default().check_through_upstream(&target).unwrap_err();
        assert_eq!(refused.code, DestBlocked, "{host}");
    }
}
