//! From what the sources say to [`Settings`]: every problem is found, not only the first.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tollgate_domain::id::ProviderId;

use super::keys::{self, KEYS};
use super::sources::{Items, Origin, Said, Sources};
use crate::upstreams::PortsConfig;

use super::{EdgeConfig, Problem, Problems, Settings, TlsFiles};

/// One key as it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Its name.
    pub key: &'static str,
    /// Its value in TOML; `None` if it has none.
    pub value: Option<String>,
    /// Who said so.
    pub origin: Origin,
}

/// Longest name of a unix socket (`sun_path` less its end).
const MAX_SOCKET_PATH: usize = 107;
const DAY_S: u64 = 86_400;

struct Reader {
    said: BTreeMap<&'static str, Said>,
    problems: Vec<Problem>,
    effective: Vec<Effective>,
}

impl Settings {
    /// Reads the settings. `docs/CONFIG.md` has the keys.
    ///
    /// # Errors
    /// [`Problems`]: all of them.
    pub fn read(sources: &Sources) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let said = sources.said(&mut problems);
        let mut r = Reader { said, problems, effective: Vec::new() };
        let id = r.required("id");
        let data_dir = r.path("data_dir", Some("/var/lib/tollgate-edge".into())).unwrap_or_default();
        // The default names nothing: a missing id is a problem, and then no settings come of this.
        let Some(placeholder) = id.or_else(|| "edge".parse().ok()) else { return Err(Problems(r.problems)) };
        let mut edge = EdgeConfig::new(placeholder, data_dir);
        r.edge(&mut edge);
        let settings = Self {
            listen: r.list("listen", vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, 3128))]),
            tls_listen: r.list("tls.listen", Vec::new()),
            admin: r.value("admin", SocketAddr::from((Ipv4Addr::LOCALHOST, 9128)), quoted),
            drain: r.seconds("drain_s", Duration::from_secs(60), 0..=DAY_S),
            table_prefix: r.value("table_prefix", String::new(), quoted),
            assign_function: r.required("assign_function").unwrap_or_default(),
            pepper_secret: r.required("pepper_secret").unwrap_or_default(),
            secret_prefix: r.value("secret_prefix", String::new(), quoted),
            edge,
            effective: Vec::new(),
        };
        r.together(&settings);
        if !r.problems.is_empty() {
            return Err(Problems(r.problems));
        }
        let place = |e: &Effective| KEYS.iter().position(|k| k.name == e.key);
        r.effective.sort_by_key(place);
        Ok(Self { effective: r.effective, ..settings })
    }
}

impl Reader {
    fn edge(&mut self, e: &mut EdgeConfig) {
        let timeout = 1..=DAY_S;
        e.workers = self.number("workers", e.workers, 1..=256);
        e.max_connections = self.number("max_connections", e.max_connections, 1..=1_000_000);
        e.max_unauthenticated_per_source =
            self.number("max_connections_per_source_before_auth", e.max_unauthenticated_per_source, 0..=1_000_000);
        e.handshake_timeout = self.seconds("handshake_s", e.handshake_timeout, timeout.clone());
        e.header_timeout = self.seconds("header_s", e.header_timeout, timeout.clone());
        e.connect_timeout = self.seconds("connect_s", e.connect_timeout, timeout.clone());
        e.idle_timeout = self.seconds("idle_s", e.idle_timeout, timeout.clone());
        e.keep_alive_timeout = self.seconds("keep_alive_s", e.keep_alive_timeout, timeout.clone());
        e.tcp_keepalive = self.seconds("tcp_keepalive_s", e.tcp_keepalive, 1..=349);
        e.linger = self.seconds("linger_s", e.linger, 0..=DAY_S);
        e.staleness = self.seconds("staleness_s", e.staleness, timeout.clone());
        e.dial_allow = self.list("dial_allow", Vec::new());
        e.target_allow = self.list("target_allow", Vec::new());
        e.own_hosts = self.list("own_hosts", Vec::new());
        e.proxy_trusted = self.list("proxy_protocol.trusted", Vec::new());
        let (certificate, key) = (self.path("tls.certificate", None), self.path("tls.key", None));
        e.tls = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
            (None, None) => None,
            (Some(_), None) => self.wrong("tls.certificate", "needs tls.key"),
            (None, Some(_)) => self.wrong("tls.key", "needs tls.certificate"),
        };
        let file = self.path("ports.file", None);
        let first = self.number("ports.first", 4000, 1..=u16::MAX);
        let count = self.number("ports.count", 1000, 1..=10_000);
        let bind = self.value("ports.bind", IpAddr::V4(Ipv4Addr::UNSPECIFIED), quoted);
        let last = u32::from(first) + u32::from(count) - 1;
        if last > u32::from(u16::MAX) {
            self.wrong::<()>("ports.count", &format!("ends at port {last}, beyond 65535"));
        }
        // A name within the rule for names.
        e.ports = file.zip(ProviderId::new("file").ok()).map(|(file, provider)| PortsConfig {
            first,
            count,
            bind,
            ..PortsConfig::new(file, provider)
        });
        e.upstream_ca_file = self.path("upstream.ca_file", None);
        e.udp.bind = self.optional::<IpAddr>("udp.bind");
        e.udp.advertise = self.optional::<IpAddr>("udp.advertise");
        e.udp.idle = self.seconds("udp.idle_s", e.udp.idle, timeout.clone());
        let via: String = self.value("via", "off".to_owned(), quoted);
        if !(1..=64).contains(&via.len()) || !via.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
            self.wrong::<()>("via", "is `off` or a pseudonym of 1–64 letters, digits, `-`, `.`, `_`");
        }
        e.via = (via != "off").then_some(via);
        e.usage_events = self.value("usage_events", e.usage_events, quoted);
        e.goproxy_first_wins = self.value("compat.goproxy_first_wins", false, |b| b.to_string());
        e.auth_failures = self.number("auth.failures", e.auth_failures, 1..=1_000_000);
        e.auth_window = self.seconds("auth.window_s", e.auth_window, timeout.clone());
        e.auth_block = self.seconds("auth.block_s", e.auth_block, timeout);
        e.lease_slots = self.number("journal.lease_slots", e.lease_slots, 1..=1 << 20);
        e.usage_slots = self.number("journal.usage_slots", e.usage_slots, 1..=1 << 22);
        let log = &mut e.access_log;
        log.path = self.path("access_log.path", None);
        log.max_bytes = self.number("access_log.max_bytes", log.max_bytes, 0..=1 << 40);
        log.max_age = self.seconds("access_log.max_age_s", log.max_age, 0..=366 * DAY_S);
        log.keep = self.number("access_log.keep", log.keep, 0..=10_000);
        log.full_source = self.value("access_log.full_source", log.full_source, |b| b.to_string());
        e.takeover_socket =
            self.path("takeover.socket", Some(e.takeover_socket())).filter(|p| !p.as_os_str().is_empty());
    }

    /// What keys ask of each other.
    fn together(&mut self, s: &Settings) {
        if !s.admin.ip().is_loopback() {
            self.wrong::<()>("admin", "must be an address on loopback");
        }
        if s.listen.is_empty() && !self.problems.iter().any(|p| p.key == Some("listen")) {
            self.wrong::<()>("listen", "names no address");
        }
        if !s.tls_listen.is_empty() && s.edge.tls.is_none() {
            self.wrong::<()>("tls.listen", "needs tls.certificate and tls.key");
        }
        let mut all: Vec<_> =
            s.listen.iter().chain(&s.tls_listen).chain([&s.admin]).filter(|a| a.port() != 0).collect();
        all.sort();
        if let Some(twice) = all.windows(2).find(|w| w[0] == w[1]) {
            self.wrong::<()>("listen", &format!("{} is asked for twice (listen, tls.listen, admin)", twice[0]));
        }
        if s.edge.takeover_socket().as_os_str().len() > MAX_SOCKET_PATH {
            self.wrong::<()>(
                "takeover.socket",
                &format!("is longer than {MAX_SOCKET_PATH} bytes; name a shorter path"),
            );
        }
    }

    /// Where `key` was said, for people.
    fn place(&self, key: &'static str) -> String {
        match self.said.get(key).map(|s| &s.origin) {
            Some(Origin::Variable(v)) => v.clone(),
            Some(Origin::File(path)) => format!("{}: {key}", path.display()),
            Some(Origin::Default) | None => match keys::find(key) {
                Some(k) => format!("{key} (or {})", k.variable()),
                None => key.to_owned(),
            },
        }
    }

    fn wrong<T>(&mut self, key: &'static str, why: &str) -> Option<T> {
        self.problems.push(Problem { key: Some(key), place: self.place(key), why: why.to_owned() });
        None
    }

    fn parse<T: FromStr<Err: Display>>(&mut self, key: &'static str, text: &str) -> Option<T> {
        text.trim().parse().map_err(|e| self.wrong::<()>(key, &format!("{text:?} cannot be read: {e}"))).ok()
    }

    /// The one text that is said of `key`. Empty text means not set.
    fn one(&mut self, key: &'static str) -> Option<String> {
        match self.said.get(key)?.items.clone() {
            Items::One(text) => Some(text).filter(|t| !t.trim().is_empty()),
            Items::Many(_) => self.wrong(key, "takes one value, not a list"),
        }
    }

    fn hold(&mut self, key: &'static str, value: Option<String>) {
        let origin = self.said.get(key).map_or(Origin::Default, |s| s.origin.clone());
        self.effective.push(Effective { key, value, origin });
    }

    fn value<T: FromStr<Err: Display>>(&mut self, key: &'static str, default: T, show: impl Fn(&T) -> String) -> T {
        let value = self.one(key).and_then(|text| self.parse(key, &text)).unwrap_or(default);
        self.hold(key, Some(show(&value)));
        value
    }

    fn optional<T: FromStr<Err: Display> + Display>(&mut self, key: &'static str) -> Option<T> {
        let value = self.one(key).and_then(|text| self.parse(key, &text));
        self.hold(key, value.as_ref().map(quoted));
        value
    }

    fn required<T: FromStr<Err: Display> + Display>(&mut self, key: &'static str) -> Option<T> {
        if self.one(key).is_none() {
            return self.wrong(key, "is not set");
        }
        self.optional(key)
    }

    fn path(&mut self, key: &'static str, default: Option<PathBuf>) -> Option<PathBuf> {
        let path = self.one(key).map(PathBuf::from).or(default);
        self.hold(key, path.as_ref().map(|p| quoted(&p.display())));
        path
    }

    fn number<N>(&mut self, key: &'static str, default: N, range: RangeInclusive<N>) -> N
    where
        N: FromStr<Err: Display> + PartialOrd + Display + Copy,
    {
        let n = self.value(key, default, N::to_string);
        if !range.contains(&n) {
            self.wrong::<()>(key, &format!("{n} is not within {}–{}", range.start(), range.end()));
        }
        n
    }

    fn seconds(&mut self, key: &'static str, default: Duration, range: RangeInclusive<u64>) -> Duration {
        Duration::from_secs(self.number(key, default.as_secs(), range))
    }

    /// A list: an array in the file; in a variable, comma-separated.
    fn list<T: FromStr<Err: Display> + Display>(&mut self, key: &'static str, default: Vec<T>) -> Vec<T> {
        let texts = match self.said.get(key).map(|s| s.items.clone()) {
            None => None,
            Some(Items::Many(texts)) => Some(texts),
            Some(Items::One(text)) if text.trim().is_empty() => None,
            Some(Items::One(text)) => {
                Some(text.split(',').map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect())
            }
        };
        let values = match texts {
            None => default,
            Some(texts) => texts.iter().filter_map(|t| self.parse(key, t)).collect(),
        };
        let shown: Vec<_> = values.iter().map(quoted).collect();
        self.hold(key, Some(format!("[{}]", shown.join(", "))));
        values
    }
}

/// A TOML basic string.
fn quoted(value: &impl Display) -> String {
    toml::Value::String(value.to_string()).to_string()
}
