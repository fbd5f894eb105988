//! What `infra/edge` says fits what the program does.

use std::collections::BTreeMap;

use crate::program::program;

const UNIT: &str = include_str!("../../../infra/edge/tollgate-edge.service");
const SYSCTL: &str = include_str!("../../../infra/edge/60-tollgate-edge.conf");
const CONTAINER: &str = include_str!("../../../infra/edge/Containerfile");

/// Keys of one section, each with its values in order.
fn section(name: &str) -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut keys: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut within = "";
    for line in UNIT.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        if let Some(header) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            within = header;
        } else {
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("no key: {line}"));
            if within == name {
                keys.entry(key).or_default().push(value);
            }
        }
    }
    keys
}

#[test]
fn the_unit_is_hardened_and_notifies() {
    let service = section("Service");
    let one = |key: &str| service.get(key).map(|v| v.join(" ")).unwrap_or_default();
    for (key, value) in [
        ("Type", "notify"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        ("NotifyAccess", "main"),
        ("Restart", "on-failure"),
        ("RestartPreventExitStatus", "64"),
        ("LimitNOFILE", "1048576"),
        ("CapabilityBoundingSet", "CAP_NET_BIND_SERVICE"),
        ("AmbientCapabilities", "CAP_NET_BIND_SERVICE"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("PrivateDevices", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
        ("SystemCallFilter", "@system-service ~@privileged @resources"),
        ("StateDirectory", "tollgate-edge"),
        ("User", "tollgate-edge"),
    ] {
        assert_eq!(one(key), value, "{key}");
    }
    assert!(service.contains_key("WatchdogSec"));
    assert!(!service.contains_key("DynamicUser"), "two lives must be one user");
}

#[test]
fn the_unit_starts_the_program_as_it_can_be_started() {
    let start = section("Service")["ExecStart"].join(" ");
    let words: Vec<_> = start.split(' ').collect();
    assert_eq!(words[..2], ["/usr/bin/tollgate-edge", "--config"]);
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/edge/edge.toml");
    let out = program().args(["--check-config", "--config", example]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let shown = String::from_utf8(out.stdout).unwrap();
    // The folders the unit makes are those the program uses.
    assert!(shown.contains("data_dir = \"/var/lib/tollgate-edge\""), "{shown}");
    assert!(shown.contains("drain_s = 60 "), "TimeoutStopSec is longer: {shown}");
}

#[test]
fn no_port_of_the_edge_is_given_to_outgoing_connections() {
    let reserved = SYSCTL.lines().find_map(|l| l.strip_prefix("net.ipv4.ip_local_reserved_ports = ")).unwrap();
    assert_eq!(reserved, "3128,4000-4999,9128");
}

#[test]
fn the_container_runs_as_nobody_in_particular() {
    let last = CONTAINER.rsplit("\nFROM ").next().unwrap();
    assert!(last.contains("\nUSER nonroot\n") && last.contains("distroless"), "{last}");
    assert!(last.contains("\nSTOPSIGNAL SIGTERM\n"));
}
