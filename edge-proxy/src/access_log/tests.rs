use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use tempfile::TempDir;
use tollgate_domain::time::Timestamp;

use super::*;

/// 2024-02-29T12:00:00Z
const NOON: u64 = 1_709_208_000_000;

struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Acquire))
    }
}

struct Place {
    dir: TempDir,
    clock: Arc<TestClock>,
    config: AccessLogConfig,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let config = AccessLogConfig { path: Some(dir.path().join("access.log")), ..AccessLogConfig::default() };
        Self { dir, clock: Arc::new(TestClock(AtomicU64::new(NOON))), config }
    }

    fn start(&self) -> AccessLog {
        AccessLog::start(self.config.clone(), Arc::clone(&self.clock) as _).unwrap()
    }

    fn pass(&self, time: Duration) {
        self.clock.0.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::AcqRel);
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("access.log")
    }

    fn lines(&self, name: &str) -> Vec<serde_json::Value> {
        read(&self.dir.path().join(name))
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn read(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "whole lines");
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn record(n: u64) -> Record<'static> {
    Record {
        kind: Kind::Tunnel,
        connection: n,
        customer: "demo",
        user: Some("demo"),
        line: Some("default"),
        listener_port: 3128,
        upstream: Some("brd/203.0.113.7"),
        country: Some("be"),
        ingress_bytes: 17,
        egress_bytes: u64::MAX,
        connect_ms: Some(12),
        first_byte_ms: None,
        duration_ms: 3456,
        reason: "finished",
        correlation_id: "c0ffee",
        source: Some(IpAddr::from([198, 51, 100, 77])),
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_record_is_one_line_of_json_with_a_masked_source() {
    let p = Place::new();
    let log = p.start();
    let worker = log.worker();
    worker.record(&record(7));
    let six = "2001:db8:1:2::3".parse().ok();
    worker.record(&Record { kind: Kind::Udp, source: six, user: None, line: None, connect_ms: None, ..record(8) });
    let mapped = "::ffff:198.51.100.9".parse().ok();
    worker.record(&Record { kind: Kind::Request, source: mapped, ..record(9) });
    drop(worker);
    log.close(Duration::from_secs(10));
    let text = std::fs::read_to_string(p.path()).unwrap();
    assert_eq!(
        text.lines().next().unwrap(),
        r#"{"target":"access","time":"2024-02-29T12:00:00.000Z","kind":"tunnel","connection":7,"customer":"demo","user":"demo","line":"default","listener_port":3128,"upstream":"brd/203.0.113.7","country":"be","ingress_bytes":17,"egress_bytes":18446744073709551615,"connect_ms":12,"duration_ms":3456,"reason":"finished","correlation_id":"c0ffee","source":"198.51.100.0/24"}"#
    );
    let lines = p.lines("access.log");
    assert_eq!((&lines[1]["kind"], &lines[1]["source"]), (&"udp".into(), &"2001:db8:1::/48".into()));
    assert!(lines[1].get("user").is_none());
    assert_eq!(lines[2]["source"], "198.51.100.0/24");
    assert_eq!(log.stats(), Stats { written: 3, ..Stats::default() });
}

#[test]
fn sources_are_told_in_full_only_if_asked_for() {
    let mut p = Place::new();
    p.config.full_source = true;
    p.config.max_age = Duration::ZERO;
    let log = p.start();
    let worker = log.worker();
    worker.record(&record(1));
    log.reconfigure(AccessLogConfig { full_source: false, ..p.config.clone() });
    p.pass(Duration::from_millis(86_400_000 + 3_723_004));
    worker.record(&record(2));
    drop(worker);
    drop(log);
    let lines = p.lines("access.log");
    assert_eq!((&lines[0]["source"], &lines[1]["source"]), (&"198.51.100.77".into(), &"198.51.100.0/24".into()));
    assert_eq!(lines[1]["time"], "2024-03-01T13:02:03.004Z");
}

#[test]
fn hostile_text_stays_one_field_of_one_line() {
    let p = Place::new();
    let log = p.start();
    let worker = log.worker();
    let long = "é".repeat(1000);
    let hostile = [
        "\"},{\"customer\":\"other",
        "back\\slash\\",
        "line\r\nfeed\u{0}\u{1b}[31m\u{7f}\u{85}\u{2028}\u{2029}",
        "\u{10ffff}😀",
        "",
    ];
    for user in hostile {
        worker.record(&Record { user: Some(user), ..record(1) });
    }
    worker.record(&Record { user: Some(&long), ..record(1) });
    drop(worker);
    drop(log);
    let lines = p.lines("access.log");
    assert_eq!(lines.len(), hostile.len() + 1);
    for (line, user) in lines.iter().zip(hostile) {
        assert_eq!((&line["user"], &line["customer"]), (&user.into(), &"demo".into()));
    }
    assert_eq!(lines.last().unwrap()["user"], "é".repeat(128), "cut at a character");
}

#[test]
fn nothing_is_handed_over_before_it_is_due_or_full() {
    let p = Place::new();
    let log = p.start();
    let worker = log.worker();
    worker.record(&record(1));
    worker.flush();
    until("flushed", || log.stats().written == 1);
    let mut n = 0;
    while log.stats().written == 1 {
        worker.record(&record(n));
        n += 1;
        assert!(n < 1_000_000, "a full buffer is handed over");
    }
    worker.flush_due();
    worker.record(&record(n));
    until("due", || {
        worker.flush_due();
        log.stats().written == n + 2
    });
}

#[test]
fn workers_write_at_once_and_no_line_is_torn_or_lost() {
    const WORKERS: u64 = 4;
    const RECORDS: u64 = 5000;
    let p = Place::new();
    let log = p.start();
    std::thread::scope(|s| {
        for w in 0..WORKERS {
            let log = &log;
            s.spawn(move || {
                let worker = log.worker();
                for n in 0..RECORDS {
                    worker.record(&record(w * RECORDS + n));
                }
            });
        }
    });
    log.close(Duration::from_secs(30));
    assert_eq!(log.stats().dropped, 0);
    let mut seen: Vec<_> = p.lines("access.log").iter().map(|l| l["connection"].as_u64().unwrap()).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..WORKERS * RECORDS).collect::<Vec<_>>());
}

#[test]
fn the_file_is_rotated_by_size_and_the_oldest_are_deleted() {
    let mut p = Place::new();
    p.config.max_bytes = 1000;
    p.config.keep = 2;
    std::fs::write(p.dir.path().join("access-notes.log"), "not ours").unwrap();
    let log = p.start();
    let worker = log.worker();
    for n in 0..5 {
        // Two fit, three do not.
        worker.record(&record(2 * n));
        worker.record(&record(2 * n + 1));
        worker.flush();
        until("written", || log.stats().written == 2 * n + 2);
        p.pass(Duration::from_secs(1));
    }
    assert_eq!(log.stats().rotations, 4);
    assert_eq!(
        p.files(),
        ["access-20240229T120003.000Z.log", "access-20240229T120004.000Z.log", "access-notes.log", "access.log"]
    );
    let of = |name: &str| p.lines(name).iter().map(|l| l["connection"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(of("access-20240229T120003.000Z.log"), [4, 5]);
    assert_eq!(of("access-20240229T120004.000Z.log"), [6, 7]);
    assert_eq!(of("access.log"), [8, 9]);
}

#[test]
fn the_file_is_rotated_by_age_and_when_told_to() {
    let p = Place::new();
    let log = p.start();
    let worker = log.worker();
    log.rotate_now();
    worker.record(&record(1));
    worker.flush();
    until("written", || log.stats().written == 1);
    assert_eq!(log.stats().rotations, 0, "an empty file is not rotated");
    p.pass(Duration::from_secs(86_400));
    worker.record(&record(2));
    worker.flush();
    until("by age", || log.stats().written == 2);
    assert_eq!(log.stats().rotations, 1);
    for n in 0..2 {
        log.rotate_now();
        until("when told to", || log.stats().rotations == 2 + n);
        worker.record(&record(3 + n));
        worker.flush();
        until("written", || log.stats().written == 3 + n);
    }
    assert_eq!(
        p.files(),
        [
            "access-20240301T120000.000Z-001.log",
            "access-20240301T120000.000Z-002.log",
            "access-20240301T120000.000Z.log",
            "access.log"
        ]
    );
}

#[test]
fn a_file_moved_away_is_opened_again_when_told_to() {
    let p = Place::new();
    let log = p.start();
    let worker = log.worker();
    worker.record(&record(1));
    worker.flush();
    until("written", || log.stats().written == 1);
    std::fs::rename(p.path(), p.dir.path().join("moved")).unwrap();
    log.reopen();
    until("reopened", || p.path().exists());
    worker.record(&record(2));
    drop(worker);
    drop(log);
    assert_eq!((p.lines("moved").len(), p.lines("access.log").len()), (1, 1));
}

#[test]
fn half_a_line_of_a_crash_does_not_spoil_the_next() {
    let p = Place::new();
    std::fs::write(p.path(), "{\"half\":").unwrap();
    let log = p.start();
    let worker = log.worker();
    worker.record(&record(1));
    drop(worker);
    drop(log);
    let text = std::fs::read_to_string(p.path()).unwrap();
    let (half, rest) = text.split_once('\n').unwrap();
    assert_eq!(half, "{\"half\":");
    serde_json::from_str::<serde_json::Value>(rest).unwrap();
}

#[test]
fn a_full_disk_is_counted_and_stops_nobody() {
    let mut p = Place::new();
    p.config.path = Some("/dev/full".into());
    let log = p.start();
    let worker = log.worker();
    worker.record(&record(1));
    worker.flush();
    until("dropped", || log.stats().dropped == 1);
    assert_eq!((log.stats().written, log.stats().failures), (0, 1));
    // A better place, while running.
    log.reconfigure(AccessLogConfig { path: Some(p.path()), ..p.config.clone() });
    worker.record(&record(2));
    worker.flush();
    until("written", || log.stats().written == 1);
}

#[test]
fn a_folder_that_comes_later_is_used_then() {
    let mut p = Place::new();
    let folder = p.dir.path().join("later");
    p.config.path = Some(folder.join("access.log"));
    let log = p.start();
    let worker = log.worker();
    worker.record(&record(1));
    worker.flush();
    until("dropped", || log.stats().dropped == 1);
    std::fs::create_dir(&folder).unwrap();
    until("written", || {
        worker.record(&record(2));
        worker.flush();
        log.stats().written > 0
    });
    let stats = log.stats();
    assert!(stats.failures >= 1);
}

#[test]
fn a_stuck_writer_drops_and_counts_and_never_blocks_a_worker() {
    let mut p = Place::new();
    let pipe = p.dir.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo());
    // Open both ways, so that the writer's open does not wait, and nobody reads yet.
    let mut reader = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    p.config.path = Some(pipe.clone());
    let log = AccessLog::with_queue(p.config.clone(), Arc::clone(&p.clock) as _, 2).unwrap();
    let worker = log.worker();
    let mut sent = 0;
    while log.stats().dropped == 0 {
        worker.record(&record(sent));
        sent += 1;
        assert!(sent < 1_000_000, "a pipe does not hold that much");
    }
    worker.flush();
    // Somebody reads at last: all that was not dropped is there.
    let drain = std::thread::spawn(move || {
        let mut all = Vec::new();
        let mut buf = [0; 4096];
        while !all.ends_with(b"end") {
            let n = reader.read(&mut buf).unwrap();
            all.extend_from_slice(&buf[..n]);
        }
        all
    });
    until("all is told", || log.stats().written + log.stats().dropped == sent);
    drop(worker);
    log.close(Duration::from_secs(10));
    std::fs::OpenOptions::new()
        .write(true)
        .open(&pipe)
        .and_then(|mut f| std::io::Write::write_all(&mut f, b"end"))
        .unwrap();
    let all = drain.join().unwrap();
    let text = String::from_utf8(all).unwrap();
    let stats = log.stats();
    let lines: Vec<serde_json::Value> =
        text.trim_end_matches("end").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len() as u64, stats.written);
    assert!(stats.dropped > 0 && stats.failures == 0, "{stats:?}");
}
