//! Every key there is, in one table. `docs/CONFIG.md` shows it, and a test compares the two.

use std::borrow::Cow;
use std::fmt::Write as _;

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name in the file, sections joined by dots.
    pub name: &'static str,
    /// What it means, with its range.
    pub meaning: &'static str,
    /// What holds where it is not set.
    pub default: &'static str,
    /// Whether SIGHUP applies a change; else it waits for the next start.
    pub reload: bool,
}

/// The variable that names the file itself; not a key of the file.
pub const FILE_VARIABLE: &str = "TOLLGATE_EDGE_CONFIG";
const PREFIX: &str = "TOLLGATE_EDGE_";
/// Keys that are shared with the functions: their variables carry no `EDGE`.
const SHARED: [(&str, &str); 4] = [
    ("table_prefix", "TOLLGATE_TABLE_PREFIX"),
    ("assign_function", "TOLLGATE_ASSIGN_FUNCTION"),
    ("pepper_secret", "TOLLGATE_PEPPER_SECRET"),
    ("secret_prefix", "TOLLGATE_SECRET_PREFIX"),
];

const fn start(name: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, meaning, default, reload: false }
}

const fn live(name: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, meaning, default, reload: true }
}

/// All keys, in the order of the documentation.
pub const KEYS: &[Key] = &[
    start("id", "required", "which edge this is, `[a-z0-9_]{1,32}`; one name per edge, for ever"),
    start(
        "data_dir",
        "`/var/lib/tollgate-edge`",
        "folder of the journal; it survives restarts and belongs to one edge",
    ),
    start("workers", "one per processor", "relay threads, 1–256"),
    start("table_prefix", "empty", "start of the tables' names"),
    start("assign_function", "required", "name or ARN of the function that assigns"),
    start("pepper_secret", "required", "name or ARN of the secret that holds the pepper"),
    start("secret_prefix", "empty", "start of the names of the gateways' secrets, `<prefix><provider>/gateway`"),
    start(
        "listen",
        "`0.0.0.0:3128`",
        "list of addresses where customers connect (HTTP and SOCKS by first byte, TLS too with a certificate)",
    ),
    start("admin", "`127.0.0.1:9128`", "health, metrics and kicks; on loopback"),
    start("tls.listen", "none", "list of addresses where only TLS is spoken"),
    live("tls.certificate", "none", "PEM file of the certificate chain; read again on every reload"),
    live("tls.key", "none", "PEM file of its private key; read again on every reload"),
    live("proxy_protocol.trusted", "none", "list of ranges whose connections begin with a PROXY header (v1 or v2)"),
    live("ports.file", "none", "file of upstreams, one a line, each bound to a port; read again on every reload"),
    start("ports.first", "4000", "first port of the map, 1–65535"),
    start("ports.count", "1000", "ports in the map, 1–10000"),
    start("ports.bind", "`0.0.0.0`", "address the map's ports listen on"),
    live("upstream.ca_file", "none", "PEM file of more roots for upstreams that speak TLS"),
    live("dial_allow", "none", "list of special ranges that gateways may be in all the same (loopback in a test)"),
    live(
        "target_allow",
        "none",
        "list of special ranges that targets may be in where the edge dials them itself (a `direct` port), each at one port (`10.1.0.0/16:443`) or at all; a plan's own rules still hold",
    ),
    live(
        "own_hosts",
        "none",
        "list of addresses and names under which others reach this edge: a target that is one of them, at one of its ports, is a loop",
    ),
    live("max_connections", "20000", "connections at a time, 1–1000000"),
    live(
        "max_connections_per_source_before_auth",
        "1024",
        "connections of one source address that have not authenticated yet, at a time; 0 = unlimited",
    ),
    live("handshake_s", "10", "seconds for a PROXY header, a TLS or a SOCKS handshake"),
    live("header_s", "10", "seconds for a request head"),
    live("connect_s", "10", "seconds to reach an upstream, and for its answer"),
    live("idle_s", "300", "seconds without a byte that end a tunnel"),
    live("keep_alive_s", "60", "seconds without a request that end a kept-alive connection"),
    live(
        "tcp_keepalive_s",
        "240",
        "seconds of silence before the first TCP keep-alive probe, 1–349 (load balancers forget a flow at 350)",
    ),
    live("linger_s", "30", "seconds after a line's last tunnel before it is said to be quiet"),
    live("drain_s", "60", "seconds a shutdown or a hand-over waits for tunnels, 0–86400"),
    live(
        "staleness_s",
        "900",
        "seconds an edge that is cut off from the store goes on serving customers it knows; then tunnels close and all are refused until it answers",
    ),
    start("udp.bind", "the listener's address", "address that UDP associations listen on"),
    live(
        "udp.advertise",
        "none",
        "address that clients are told to send datagrams to; else the one that they listen on",
    ),
    live("udp.idle_s", "60", "seconds without a datagram that end a UDP association"),
    live("via", "`off`", "the pseudonym of a `Via` field added to requests and responses; `off` adds none"),
    live(
        "usage_events",
        "`errors`",
        "which usage events of customers' connections are written to the store, each for one write unit: `on` (all), `errors`, `off`; docs/OPERATIONS.md has the costs",
    ),
    live(
        "compat.goproxy_first_wins",
        "false",
        "a limit given twice by GoProxy's header names: the first counts, not the lowest",
    ),
    start("auth.failures", "10", "failed logins of one source within the window that block it"),
    start("auth.window_s", "600", "the window, in seconds"),
    start("auth.block_s", "1800", "seconds a source stays blocked"),
    start("journal.lease_slots", "4096", "buckets that may be leased at a time, 1–1048576"),
    start("journal.usage_slots", "16384", "counters of (bucket, line, proxy, worker) at a time, 1–4194304"),
    live("access_log.path", "none", "file of the access log; without one its lines go to standard error"),
    live("access_log.max_bytes", "268435456", "size at which the file is rotated; 0 = never"),
    live("access_log.max_age_s", "86400", "age in seconds at which the file is rotated; 0 = never"),
    live("access_log.keep", "14", "rotated files that are kept"),
    live("access_log.full_source", "false", "log source addresses in full; else the /24 or /48 they are in"),
    start(
        "takeover.socket",
        "`<data_dir>/takeover.sock`",
        "socket over which a new process receives the listening sockets, at most 107 bytes",
    ),
];

impl Key {
    /// Its variable in the environment, which wins over the file.
    #[must_use]
    pub fn variable(&self) -> Cow<'static, str> {
        match SHARED.iter().find(|(name, _)| *name == self.name) {
            Some((_, variable)) => Cow::Borrowed(variable),
            None => Cow::Owned(format!("{PREFIX}{}", self.name.replace('.', "_").to_ascii_uppercase())),
        }
    }
}

/// The key with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.name == name)
}

/// Whether a variable looks like one of ours and is none. What Kubernetes sets for a service
/// named `tollgate-edge` does not count.
pub(super) fn unknown_variable(variable: &str) -> bool {
    let Some(rest) = variable.strip_prefix(PREFIX) else { return false };
    let injected = rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_");
    variable != FILE_VARIABLE && !injected && !KEYS.iter().any(|k| k.variable() == variable)
}

/// The name in `known` that `name` most likely means, if one is near.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = Cow<'a, str>>) -> Option<Cow<'a, str>> {
    let limit = (name.len() / 3).clamp(2, 6);
    // The beginning of a name is nearer than any slip of the finger.
    let far = |k: &str| if name.len() > 2 && k.starts_with(name) { 1 } else { distance(name, k) };
    let found = known.map(|k| (far(&k), k)).min_by_key(|(d, _)| *d);
    found.filter(|(d, _)| *d <= limit).map(|(_, k)| k)
}

/// Edits (insert, delete, replace a byte) from one name to the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The table in Markdown, as `docs/CONFIG.md` holds it.
#[must_use]
pub fn table() -> String {
    let mut out = String::from("| key | variable | default | on SIGHUP | meaning |\n|---|---|---|---|---|\n");
    for k in KEYS {
        let when = if k.reload { "applied" } else { "at start" };
        let _ = writeln!(out, "| `{}` | `{}` | {} | {when} | {} |", k.name, k.variable(), k.default, k.meaning);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_documentation_shows_this_table() {
        let docs = include_str!("../../../docs/CONFIG.md");
        assert!(docs.contains(&table()), "docs/CONFIG.md should hold:\n{}", table());
    }

    #[test]
    fn no_two_keys_share_a_name_or_a_variable() {
        let names: BTreeSet<_> = KEYS.iter().map(|k| k.name).collect();
        let variables: BTreeSet<_> = KEYS.iter().map(|k| k.variable()).collect();
        assert_eq!((names.len(), variables.len()), (KEYS.len(), KEYS.len()));
        assert!(!variables.contains(FILE_VARIABLE));
    }

    #[test]
    fn a_misspelt_name_finds_the_one_meant() {
        let names = || KEYS.iter().map(|k| Cow::Borrowed(k.name));
        for (wrong, meant) in
            [("idle", "idle_s"), ("idel_s", "idle_s"), ("tls.cert", "tls.certificate"), ("drain-s", "drain_s")]
        {
            let found = nearest(wrong, names());
            assert_eq!(found.as_deref(), Some(meant), "{wrong}");
        }
        assert_eq!(nearest("entirely_else", names()), None);
    }

    #[test]
    fn what_kubernetes_injects_is_no_key() {
        for ours in ["TOLLGATE_EDGE_IDLE_S", "TOLLGATE_EDGE_CONFIG", "TOLLGATE_TABLE_PREFIX", "PATH"] {
            assert!(!unknown_variable(ours), "{ours}");
        }
        for theirs in ["TOLLGATE_EDGE_PORT", "TOLLGATE_EDGE_PORT_3128_TCP_ADDR", "TOLLGATE_EDGE_SERVICE_HOST"] {
            assert!(!unknown_variable(theirs), "{theirs}");
        }
        assert!(unknown_variable("TOLLGATE_EDGE_IDLE"));
    }
}
