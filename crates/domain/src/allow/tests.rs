use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::id::CustomerId;
use crate::time::Timestamp;

fn net(s: &str) -> AllowNet {
    s.parse().unwrap_or_else(|e| panic!("{s}: {e}"))
}

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn entry(customer: &str, s: &str) -> AllowEntry {
    let customer = CustomerId::new(customer).unwrap();
    AllowEntry { net: net(s), customer, note: String::new(), created_at: Timestamp::from_secs(1) }
}

fn block(entries: &[(&str, &str)]) -> AllowBlock {
    entries.iter().fold(AllowBlock::default(), |block, (customer, s)| match block.insert(&entry(customer, s)) {
        Ok(Listed::Added(next)) => next,
        other => panic!("{customer} {s}: {other:?}"),
    })
}

#[test]
fn networks_are_read_in_their_plain_forms_and_printed_with_a_length() {
    for (written, read) in [
        ("203.0.113.7", "203.0.113.7/32"),
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("203.0.113.240/28", "203.0.113.240/28"),
        ("203.0.113.255/32", "203.0.113.255/32"),
        ("2001:DB8:0:0::1", "2001:db8::1/128"),
        ("2001:db8:1::/48", "2001:db8:1::/48"),
        ("2001:db8:1:2::/64", "2001:db8:1:2::/64"),
        ("::1", "::1/128"),
        ("::ffff:203.0.113.7", "203.0.113.7/32"),
        ("::ffff:cb00:7100/120", "203.0.113.0/24"),
        ("::ffff:203.0.113.8/125", "203.0.113.8/29"),
    ] {
        assert_eq!(net(written).to_string(), read);
        assert_eq!(net(read), net(written));
        let json = serde_json::to_string(&net(written)).unwrap();
        assert_eq!(
            (json.as_str(), serde_json::from_str::<AllowNet>(&json).unwrap()),
            (&*format!("\"{read}\""), net(read))
        );
    }
}

#[test]
fn what_is_no_network_is_refused_with_what_to_write() {
    for bad in [
        "",
        "/",
        "/24",
        "x",
        "203.0.113",
        "203.0.113.0/",
        "203.0.113.0/33",
        "203.0.113.0/024",
        "203.0.113.0/+24",
        "203.0.113.0/24/24",
        "203.0.113.0 /24",
        " 203.0.113.0",
        "0203.0.113.0",
        "0xcb.0.113.0",
        "3405803776",
        "203.0.113.0/255.255.255.0",
        "2001:db8::/129",
        "2001:db8::/999",
        "[2001:db8::1]",
        "fe80::1%eth0",
        "fe80::1%eth0/64",
        "user@203.0.113.7",
        "203.0.113.7:80",
        "203.0.113.7\0",
        "２０３.0.113.7",
        "localhost",
        "::ffff:203.0.113.0/129",
        "*",
        "203.0.113.0-203.0.113.9",
        &"1".repeat(100_000),
    ] {
        assert_eq!(bad.parse::<AllowNet>(), Err(InvalidNet::Malformed), "{bad:?}");
        assert!(bad.parse::<Block>().is_err());
    }
    for wide in [
        "0.0.0.0/0",
        "203.0.113.0/23",
        "::/0",
        "2001:db8::/47",
        "::ffff:0:0/96",
        "::ffff:203.0.113.0/119",
        "::ffff:1.2.3.4/0",
    ] {
        assert_eq!(wide.parse::<AllowNet>(), Err(InvalidNet::TooWide), "{wide}");
    }
    for (bits, held) in [
        ("203.0.113.5/28", "203.0.113.0/28"),
        ("203.0.113.1/24", "203.0.113.0/24"),
        ("2001:db8:1::1/64", "2001:db8:1::/64"),
        ("::ffff:203.0.113.5/124", "203.0.113.0/28"),
    ] {
        let refused = bits.parse::<AllowNet>().unwrap_err();
        assert_eq!(refused, InvalidNet::HostBits(net(held)), "{bits}");
        assert!(refused.to_string().contains(&format!("write {held} for the network")), "{refused}");
    }
}

#[test]
fn a_block_is_the_24_or_the_48_that_an_address_is_in() {
    for (address, block) in [
        ("203.0.113.0", "203.0.113.0/24"),
        ("203.0.113.255", "203.0.113.0/24"),
        ("203.0.114.0", "203.0.114.0/24"),
        ("::ffff:203.0.113.9", "203.0.113.0/24"),
        ("2001:db8:1::", "2001:db8:1::/48"),
        ("2001:db8:1:ffff:ffff:ffff:ffff:ffff", "2001:db8:1::/48"),
        ("2001:db8:2::", "2001:db8:2::/48"),
    ] {
        assert_eq!(Block::of(ip(address)).to_string(), block, "{address}");
        assert_eq!(block.parse::<Block>().unwrap(), Block::of(ip(address)));
        assert_eq!(AllowNet::of(ip(address)).block(), Block::of(ip(address)));
    }
    for bad in ["203.0.113.0/25", "203.0.113.0", "2001:db8:1::/49", "203.0.113.0/23"] {
        assert!(bad.parse::<Block>().is_err(), "{bad}");
    }
}

#[test]
fn special_ranges_are_sources_only_where_an_operator_says_so() {
    for private in [
        "127.0.0.1",
        "10.1.2.0/24",
        "192.168.7.0/28",
        "172.16.0.1",
        "100.64.0.0/24",
        "169.254.169.254",
        "198.51.100.9",
        "::1",
        "fd00:1:2::/48",
        "fe80::1",
        "2001:db8:1::/48",
        "::/48",
        "100::/48",
        "64:ff9b::/48",
        "64:ff9b:1::/48",
        "2002:7f00:1::/48",
    ] {
        assert!(matches!(net(private).check_source(false), Err(InvalidNet::Special(_))), "{private}");
    }
    for private in
        ["127.0.0.1", "10.1.2.0/24", "192.168.7.0/28", "198.51.100.9", "::1", "fd00:1:2::/48", "::ffff:127.0.0.1"]
    {
        assert_eq!(net(private).check_source(true), Ok(()), "{private}");
    }
    for never in [
        "0.0.0.0",
        "0.1.2.0/24",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.0/24",
        "255.255.255.255",
        "::",
        "::/48",
        "ff02::1",
        "ff02::/48",
    ] {
        assert!(net(never).check_source(true).is_err(), "{never}");
    }
    for public in ["8.8.8.0/24", "93.184.216.34", "2606:4700::/48", "::ffff:8.8.8.8"] {
        assert_eq!(net(public).check_source(false), Ok(()), "{public}");
    }
}

#[test]
fn the_longest_prefix_names_the_entry() {
    let block = block(&[
        ("a", "203.0.113.0/25"),
        ("a", "203.0.113.64/26"),
        ("a", "203.0.113.66/32"),
        ("b", "203.0.113.128/25"),
    ]);
    for (from, found) in [
        ("203.0.113.0", Some(("a", "203.0.113.0/25"))),
        ("203.0.113.63", Some(("a", "203.0.113.0/25"))),
        ("203.0.113.64", Some(("a", "203.0.113.64/26"))),
        ("203.0.113.66", Some(("a", "203.0.113.66/32"))),
        ("::ffff:203.0.113.66", Some(("a", "203.0.113.66/32"))),
        ("203.0.113.127", Some(("a", "203.0.113.64/26"))),
        ("203.0.113.128", Some(("b", "203.0.113.128/25"))),
        ("203.0.113.255", Some(("b", "203.0.113.128/25"))),
        ("203.0.114.0", None),
        ("203.0.112.255", None),
        ("2001:db8::1", None),
    ] {
        let entry = block.find(ip(from)).map(|e| (e.customer.to_string(), e.net.to_string()));
        assert_eq!(entry, found.map(|(c, n)| (c.to_owned(), n.to_owned())), "{from}");
    }
}

#[test]
fn customers_do_not_overlap_but_one_customers_entries_may_nest() {
    let held = block(&[("a", "203.0.113.64/26"), ("b", "2001:db8:1:2::/64")]);
    for taken in ["203.0.113.0/24", "203.0.113.64/26", "203.0.113.65", "203.0.113.127", "203.0.113.96/27"] {
        assert_eq!(held.insert(&entry("b", taken)), Err(Unlistable::Taken), "{taken}");
        assert!(held.insert(&entry("a", taken)).is_ok(), "{taken}");
    }
    for free in ["203.0.113.63", "203.0.113.128", "203.0.113.0/26", "203.0.113.128/25"] {
        assert!(matches!(held.insert(&entry("b", free)), Ok(Listed::Added(_))), "{free}");
    }
    for (mine, ok) in [("2001:db8:1::/48", false), ("2001:db8:1:2::1", false), ("2001:db8:1:3::/64", true)] {
        assert_eq!(held.insert(&entry("a", mine)).is_ok(), ok, "{mine}");
    }
}

#[test]
fn listing_again_changes_the_note_alone_and_counts_no_version_for_nothing() {
    let held = block(&[("a", "203.0.113.7")]);
    assert_eq!((held.ver, held.insert(&entry("a", "203.0.113.7"))), (1, Ok(Listed::Same)));
    let later = AllowEntry { note: "office".into(), created_at: Timestamp::from_secs(9), ..entry("a", "203.0.113.7") };
    assert_eq!(held.insert(&AllowEntry { note: String::new(), ..later.clone() }), Ok(Listed::Same));
    let Ok(Listed::Noted(noted)) = held.insert(&later) else { panic!("the note is another") };
    assert_eq!(noted.ver, 2);
    assert_eq!(noted.entries, vec![AllowEntry { note: "office".into(), ..entry("a", "203.0.113.7") }]);
}

#[test]
fn only_its_owner_removes_an_entry() {
    let held = block(&[("a", "203.0.113.0/25"), ("a", "203.0.113.7")]);
    let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
    assert_eq!(held.remove(&b, &net("203.0.113.7")), None);
    assert_eq!(held.remove(&a, &net("203.0.113.8")), None);
    let (next, removed) = held.remove(&a, &net("203.0.113.7")).unwrap();
    assert_eq!((next.ver, removed), (3, entry("a", "203.0.113.7")));
    assert_eq!(next.entries, vec![entry("a", "203.0.113.0/25")]);
}

#[test]
fn a_block_holds_every_network_of_an_ipv4_block_and_no_more_of_ipv6() {
    let mut held = AllowBlock::default();
    let mut nets = 0;
    for len in 24..=32u32 {
        for n in 0..1u32 << (len - 24) {
            let text = format!("203.0.113.{}/{len}", n << (32 - len));
            let Ok(Listed::Added(next)) = held.insert(&entry("a", &text)) else { panic!("{text}") };
            held = next;
            nets += 1;
        }
    }
    assert_eq!((nets, held.entries.len(), held.ver), (511, 511, 511));
    let six = (0..AllowBlock::MAX).fold(AllowBlock::default(), |held, n| {
        let Ok(Listed::Added(next)) = held.insert(&entry("a", &format!("2001:db8::{n:x}"))) else { panic!("{n}") };
        next
    });
    assert_eq!(six.insert(&entry("a", "2001:db8::ffff")), Err(Unlistable::Full));
    assert_eq!(six.insert(&entry("a", "2001:db8::0")), Ok(Listed::Same), "what is there already is no more");
}

fn any_net() -> impl Strategy<Value = AllowNet> {
    let four = (any::<u8>(), 24..=32u8).prop_map(|(host, len)| {
        let ip = u32::from_be_bytes([203, 0, 113, host]) >> (32 - len) << (32 - len);
        net(&format!("{}/{len}", Ipv4Addr::from_bits(ip)))
    });
    let six = (any::<u128>(), 48..=128u8).prop_map(|(host, len)| {
        let ip = (0x2001_0db8_0001_u128 << 80 | host >> 48) >> (128 - len) << (128 - len);
        net(&format!("{}/{len}", Ipv6Addr::from_bits(ip)))
    });
    prop_oneof![4 => four, 1 => six]
}

proptest! {
    #[test]
    fn no_text_is_too_strange(s in "\\PC*") {
        if let Ok(net) = s.parse::<AllowNet>() {
            prop_assert_eq!(net.to_string().parse::<AllowNet>(), Ok(net));
            prop_assert!(net.prefix_len() >= 24);
        }
    }

    #[test]
    fn a_network_prints_and_reads_the_same_and_lies_in_one_block(net in any_net()) {
        prop_assert_eq!(net.to_string().parse::<AllowNet>().unwrap(), net);
        prop_assert_eq!(net.block().to_string().parse::<Block>().unwrap(), net.block());
        let ends = [net.0.network(), net.0.broadcast()];
        prop_assert!(ends.iter().all(|ip| net.contains(*ip) && Block::of(*ip) == net.block()));
    }

    /// The block against a plain list and its definition, after any writes.
    #[test]
    fn an_address_belongs_to_at_most_one_customer(
        writes in prop::collection::vec((0..3u8, any_net(), any::<bool>()), 0..60),
        host in any::<u8>(),
    ) {
        let mut held = AllowBlock::default();
        let mut model: Vec<AllowEntry> = Vec::new();
        for (who, net, add) in writes {
            let e = AllowEntry { net, ..entry(["a", "b", "c"][usize::from(who)], "::") };
            let before = held.ver;
            if add {
                let taken = model.iter().any(|m| m.customer != e.customer && (m.net.contains(e.net.0.network()) || e.net.contains(m.net.0.network())));
                match held.insert(&e) {
                    Err(why) => prop_assert!(taken && why == Unlistable::Taken),
                    Ok(Listed::Same) => prop_assert!(!taken && model.contains(&e)),
                    Ok(Listed::Noted(_)) => prop_assert!(false, "no note was changed"),
                    Ok(Listed::Added(next)) => {
                        prop_assert!(!taken && !model.contains(&e));
                        model.push(e);
                        held = next;
                        prop_assert_eq!(held.ver, before + 1);
                    }
                }
            } else if let Some((next, removed)) = held.remove(&e.customer, &net) {
                prop_assert!(model.contains(&removed));
                model.retain(|m| *m != removed);
                held = next;
                prop_assert_eq!(held.ver, before + 1);
            } else {
                prop_assert!(!model.contains(&e));
            }
        }
        model.sort_by_key(|e| e.net);
        prop_assert_eq!(&held.entries, &model);
        let from = IpAddr::V4(Ipv4Addr::new(203, 0, 113, host));
        let owners: std::collections::BTreeSet<_> = model.iter().filter(|e| e.net.contains(from)).map(|e| &e.customer).collect();
        prop_assert!(owners.len() <= 1);
        let longest = model.iter().filter(|e| e.net.contains(from)).map(|e| e.net.prefix_len()).max();
        prop_assert_eq!(held.find(from).map(|e| e.net.prefix_len()), longest);
    }
}
