//! What the address policy is asked for: the ranges with their ends and neighbours, odd spellings, local names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tollgate_domain::refusal::Code;

/// A port that nothing is said of.
pub const PORT: u16 = 8443;
/// Under which the edge is known to others.
pub const OWN: [&str; 2] = ["198.41.0.4", "edge.example"];

/// First and last address of a range, and the public ones before and after it. Where another range
/// begins there is none.
type Range = (&'static str, &'static str, &'static str, &'static str);

static RANGES: [Range; 27] = [
    ("0.0.0.0", "0.255.255.255", "", "1.0.0.0"),
    ("10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
    ("100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0"),
    ("127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0"),
    ("169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0"),
    ("172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"),
    ("192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0"),
    ("192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0"),
    ("192.88.99.0", "192.88.99.255", "192.88.98.255", "192.88.100.0"),
    ("192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0"),
    ("198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0"),
    ("198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0"),
    ("203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0"),
    ("224.0.0.0", "239.255.255.255", "223.255.255.255", ""),
    ("240.0.0.0", "255.255.255.255", "", ""),
    ("::", "::ffff:ffff", "", "::1:0:0"),
    // What is mapped is judged as what it holds: these hold the ends of IPv4.
    ("::ffff:0.0.0.0", "::ffff:255.255.255.255", "::fffe:ffff:ffff", "::1:0:0:0"),
    ("64:ff9b::", "64:ff9b::ffff:ffff", "64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", "64:ff9b::1:0:0"),
    ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "64:ff9b:0:ffff:ffff:ffff:ffff:ffff", "64:ff9b:2::"),
    ("100::", "100::ffff:ffff:ffff:ffff", "ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "100:0:0:1::"),
    ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:1::"),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"),
    ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::"),
    ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe00::"),
    ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""),
    ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", ""),
    ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", ""),
];

/// Addresses within the ranges that somebody answers at.
const ANSWERED: [&str; 8] = [
    "169.254.169.254", // metadata of clouds
    "169.254.170.2",   // of ECS
    "169.254.170.23",
    "fd00:ec2::254",
    "::1",
    "::ffff:127.0.0.2",
    "::ffff:10.0.0.1",
    "::127.0.0.2",
];

/// Hosts that are no plain address and no public name.
static ODD: [(&str, Code); 23] = [
    ("2130706433", Code::DestBlocked),
    ("0x7f000001", Code::DestBlocked),
    ("0177.0.0.1", Code::DestBlocked),
    ("0x7f.1", Code::DestBlocked),
    ("127.1", Code::DestBlocked),
    ("127.0.1", Code::DestBlocked),
    ("127.000.000.001", Code::DestBlocked),
    ("127.0.0.1.", Code::DestBlocked),
    ("127.0.0.1%25lo", Code::RequestInvalid),
    ("[fe80::1%25eth0]", Code::RequestInvalid),
    ("[fe80::1%eth0]", Code::RequestInvalid),
    ("user@127.0.0.2", Code::RequestInvalid),
    ("example.com@127.0.0.2", Code::RequestInvalid),
    ("127.0.0.2\0", Code::RequestInvalid),
    ("127.0.0.2\0.example.com", Code::RequestInvalid),
    ("::1", Code::RequestInvalid),
    ("localhost", Code::DestBlocked),
    ("LOCALHOST.", Code::DestBlocked),
    ("x.localhost", Code::DestBlocked),
    ("metadata.google.internal", Code::DestBlocked),
    ("instance-data", Code::DestBlocked),
    ("printer.local", Code::DestBlocked),
    ("router.home.arpa", Code::DestBlocked),
];

/// A host as HTTP writes it.
fn written(ip: &str) -> String {
    if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() }
}

/// The address that a host is, in that form.
pub fn address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// Addresses in special ranges.
pub fn special() -> impl Iterator<Item = &'static str> {
    RANGES.iter().flat_map(|r| [r.0, r.1]).chain(ANSWERED)
}

/// All that is refused whatever the way out: host, port, code.
pub fn refused() -> Vec<(String, u16, Code)> {
    let addresses = special().map(|ip| (written(ip), PORT, Code::DestBlocked));
    let odd = ODD.iter().map(|(host, code)| ((*host).to_owned(), PORT, *code));
    let mail = ["example.com", "1.0.0.0"].map(|host| (host.to_owned(), 25, Code::DestBlocked));
    addresses.chain(odd).chain(mail).collect()
}

/// All that is passed on where an upstream is asked.
pub fn passed() -> Vec<String> {
    let beside = RANGES.iter().flat_map(|r| [r.2, r.3]).filter(|ip| !ip.is_empty());
    let more = ["::ffff:1.0.0.0", "example.com", "127.0.0.1.nip.io", "xn--bcher-kva.example"];
    beside.chain(more).map(written).chain(OWN.map(str::to_owned)).collect()
}
