use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use secrecy::ExposeSecret;
use tempfile::TempDir;
use tollgate_domain::id::ProxyId;

use super::*;

/// A file of upstreams, and what an edge makes of it.
struct Place {
    dir: TempDir,
    listeners: Arc<Listeners>,
    config: PortsConfig,
}

impl Place {
    /// On an address of the loopback network that no other test uses.
    fn new(count: u16) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let [.., a, b] = std::process::id().to_be_bytes();
        let n = u8::try_from(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap();
        let dir = TempDir::new().unwrap();
        let mut config = PortsConfig::new(dir.path().join("proxy.txt"), "file".parse().unwrap());
        config.bind = IpAddr::V4(Ipv4Addr::new(127, 128 | (a >> 2), b, (a & 3) << 5 | (n + 1)));
        config.count = count;
        Self { dir, listeners: Arc::new(Listeners::new(1).unwrap()), config }
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.config.file, text).unwrap();
    }

    fn start(&self) -> Upstreams {
        Upstreams::new(Some(&self.config), self.dir.path(), &self.listeners).unwrap()
    }

    fn load(&self, upstreams: &Upstreams, text: &str) -> ReloadReport {
        self.write(text);
        upstreams.reload(Instant::now()).unwrap()
    }

    fn accepts(&self, port: u16) -> bool {
        std::net::TcpStream::connect((self.config.bind, port)).is_ok()
    }
}

fn row(n: usize) -> String {
    format!("user{n}:pass{n}@10.0.{}.{}:8080\n", n / 250, n % 250 + 1)
}

fn rows(ns: impl IntoIterator<Item = usize>) -> String {
    ns.into_iter().map(row).collect()
}

fn counts(r: &ReloadReport) -> [usize; 6] {
    [r.added, r.removed, r.changed, r.kept, r.unbound, r.failed]
}

fn ports(upstreams: &Upstreams) -> Vec<(Option<u16>, PortState)> {
    upstreams.status().into_iter().map(|s| (s.port, s.state)).collect()
}

fn password(upstreams: &Upstreams, place: &Place, port: u16) -> String {
    let doors = place.listeners.named();
    let door = doors.iter().find(|l| l.entrance.local.port() == port).unwrap();
    let upstream = door.entrance.upstream().unwrap();
    assert!(Arc::ptr_eq(&upstream, &upstreams.table().get(&upstream.id).unwrap()));
    upstream.credentials.as_ref().unwrap().1.expose_secret().to_owned()
}

#[test]
fn a_reload_changes_what_changed_and_nothing_else() {
    let place = Place::new(3);
    let up = place.start();
    assert!(matches!(up.reload(Instant::now()), Err(ReloadError::File { .. })));
    assert_eq!(counts(&place.load(&up, &rows([0, 1, 2, 3]))), [4, 0, 0, 0, 1, 0]);
    let listening = |p| (Some(p), PortState::Listening);
    assert_eq!(ports(&up), [listening(4000), listening(4001), listening(4002), (None, PortState::Unbound)]);
    assert!([4000, 4001, 4002].into_iter().all(|p| place.accepts(p)));
    let ids = |l: &Arc<Listeners>| l.named().iter().map(|l| (l.entrance.id, l.entrance.local)).collect::<Vec<_>>();
    let before = ids(&place.listeners);
    assert_eq!(counts(&place.load(&up, &rows([3, 2, 1, 0]))), [0, 0, 0, 4, 1, 0]);
    assert_eq!(ids(&place.listeners), before);
    // Another password acts on the open door; one that leaves makes room for who waited.
    let text = rows([3, 2, 0]).replace("pass2", "new");
    assert_eq!(counts(&place.load(&up, &text)), [0, 1, 1, 2, 0, 0]);
    assert_eq!(ids(&place.listeners), before);
    let found = [4000, 4001, 4002].map(|p| password(&up, &place, p));
    assert_eq!(found, ["pass0", "pass3", "new"]);
    // A file that cannot be read changes nothing.
    std::fs::remove_file(&place.config.file).unwrap();
    assert!(up.reload(Instant::now()).is_err());
    assert_eq!(ids(&place.listeners), before);
    assert_eq!(counts(&place.load(&up, "")), [0, 3, 0, 0, 0, 0]);
    assert_eq!((up.table().len(), place.listeners.named().len()), (0, 0));
    assert!(!place.accepts(4000));
}

#[test]
fn numbers_survive_a_restart_and_sockets_can_be_inherited() {
    let mut place = Place::new(10);
    let up = place.start();
    place.load(&up, &rows(0..4));
    place.load(&up, &rows([3, 1]));
    let handed: Vec<_> =
        place.listeners.named().iter().map(|l| (l.entrance.local.port(), l.socket.try_clone().unwrap())).collect();
    drop(up);
    let earlier = std::mem::replace(&mut place.listeners, Arc::new(Listeners::new(2).unwrap()));
    let next = place.start();
    next.inherit(handed);
    // The earlier process still listens: nothing is bound twice.
    assert_eq!(counts(&next.reload(Instant::now()).unwrap()), [2, 0, 0, 0, 0, 0]);
    earlier.close();
    assert_eq!(password(&next, &place, 4001), "pass1");
    assert_eq!(password(&next, &place, 4003), "pass3");
    assert!(place.accepts(4001) && place.accepts(4003) && !place.accepts(4000));
    let kept = std::fs::read_to_string(place.dir.path().join("ports.json")).unwrap();
    assert!(kept.contains("4001") && !kept.contains("pass"), "{kept}");
}

#[test]
fn a_port_in_use_is_shown_and_tried_again() {
    let place = Place::new(10);
    let busy = TcpListener::bind((place.config.bind, 4001)).unwrap();
    let up = place.start();
    place.write(&rows(0..3));
    let start = Instant::now();
    let report = up.reload(start).unwrap();
    assert_eq!(counts(&report), [3, 0, 0, 0, 0, 1]);
    let second = |up: &Upstreams| up.status().remove(1);
    assert!(matches!(second(&up).state, PortState::Failed(why) if why.contains("in use")));
    assert!(second(&up).json()["why"].is_string());
    drop(busy);
    up.retry(start + Duration::from_secs(1));
    assert_ne!(second(&up).state, PortState::Listening);
    up.retry(start + Duration::from_secs(2));
    assert_eq!(second(&up).state, PortState::Listening);
    assert!(place.accepts(4001));
    assert_eq!(up.reload(start).unwrap().failed, 0);
}

#[test]
fn waits_double_up_to_a_minute() {
    let place = Place::new(1);
    let busy = TcpListener::bind((place.config.bind, 4000)).unwrap();
    let up = place.start();
    place.write(&rows([0]));
    let mut now = Instant::now();
    up.reload(now).unwrap();
    for wait in [2, 4, 8, 16, 32, 60, 60] {
        let state = up.from_file.as_ref().unwrap().state();
        let doors::State::Failed { wait: waits, again, .. } = &state.doors.all()[&4000].state else { panic!() };
        assert_eq!((*waits, *again), (Duration::from_secs(wait), now + Duration::from_secs(wait)));
        drop(state);
        now += Duration::from_secs(wait);
        up.retry(now);
    }
    drop(busy);
}

#[test]
fn names_may_move_and_attributes_change() {
    let place = Place::new(0);
    let up = place.start();
    place.load(&up, "u:p@1.1.1.1:1 name=a\nu:p@2.2.2.2:2 name=b\n");
    let report = place.load(&up, "u:p@1.1.1.1:1 name=b owner=bot\nu:p@2.2.2.2:2 name=c\nwhat\n");
    assert_eq!((counts(&report), report.problems.len()), ([0, 0, 2, 0, 2, 0], 1));
    let id = |ip: &str| ProxyId { provider: "file".parse().unwrap(), ip: ip.into() };
    assert!(up.table().get(&id("a")).is_none());
    let b = up.table().get(&id("b")).unwrap();
    assert_eq!((b.host.as_str(), b.owner.as_ref().unwrap().as_str()), ("1.1.1.1", "bot"));
    assert_eq!(up.table().get(&id("c")).unwrap().host, "2.2.2.2");
    assert_eq!(up.table().len(), 2);
    // No secret in what is shown.
    assert!(!format!("{:?}{:?}", up.status(), up.status()[0].json()).contains("u:p"));
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn ten_thousand_rows_are_small_and_readers_go_on_through_changes() {
    const ROWS: usize = 10_000;
    let place = Place::new(0);
    let up = place.start();
    // The round in which a row last got a password is part of it.
    let text = |changed: &dyn Fn(usize) -> usize| -> String {
        (0..ROWS).map(|n| format!("user{n}:pass{}@10.0.{}.{}:8080\n", changed(n), n / 250, n % 250 + 1)).collect()
    };
    place.write(&text(&|_| 0));
    let before = resident_kib();
    assert_eq!(up.reload(Instant::now()).unwrap().added, ROWS);
    let grown = resident_kib().saturating_sub(before);
    println!("{ROWS} rows: {grown} KiB resident");
    assert!(grown < 16 << 10, "{grown} KiB");
    let ids: Vec<_> = up.from_file.as_ref().unwrap().state().rows.values().map(|u| u.id.clone()).collect();
    let done = AtomicBool::new(false);
    let (looked, missed) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut looked, mut missed) = (0_u64, 0_u64);
            while !done.load(Ordering::Acquire) {
                for id in &ids {
                    looked += 1;
                    missed += u64::from(up.table().get(id).is_none());
                }
            }
            (looked, missed)
        });
        let began = Instant::now();
        // 100 changed passwords a reload: replaced in place, never absent.
        for round in 1..=5 {
            place.write(&text(&|n| if n % (ROWS / 100) == 0 { round } else { 0 }));
            let report = up.reload(Instant::now()).unwrap();
            assert_eq!((report.changed, report.kept), (100, ROWS - 100));
        }
        println!("5 reloads of 100 changes in {ROWS} rows: {:?}", began.elapsed());
        done.store(true, Ordering::Release);
        reader.join().unwrap()
    });
    assert_eq!(missed, 0);
    println!("{looked} look-ups meanwhile");
}
