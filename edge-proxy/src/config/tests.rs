use std::path::Path;

use super::*;

const REQUIRED: [(&str, &str); 3] =
    [("TOLLGATE_EDGE_ID", "edge1"), ("TOLLGATE_ASSIGN_FUNCTION", "assign"), ("TOLLGATE_PEPPER_SECRET", "pepper")];

fn sources(file: &str, variables: &[(&str, &str)]) -> Sources {
    let own = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
    let variables = REQUIRED.iter().chain(variables).map(own).collect();
    Sources { file: Some(("edge.toml".into(), file.to_owned())), variables }
}

fn read(variables: &[(&str, &str)]) -> Result<Settings, Problems> {
    Settings::read(&sources("", variables))
}

fn problems(file: &str) -> Vec<String> {
    let wrong = Settings::read(&sources(file, &[])).unwrap_err();
    wrong.0.iter().map(Problem::to_string).collect()
}

#[test]
fn the_defaults_need_three_settings_only() {
    let s = read(&[]).unwrap();
    assert_eq!(s.listen, ["0.0.0.0:3128".parse().unwrap()]);
    assert_eq!(s.edge.idle_timeout, Duration::from_secs(300));
    assert_eq!(s.edge.takeover_socket(), Path::new("/var/lib/tollgate-edge/takeover.sock"));
    let missing = Settings::read(&Sources::default()).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "id (or TOLLGATE_EDGE_ID): is not set\n\
         assign_function (or TOLLGATE_ASSIGN_FUNCTION): is not set\n\
         pepper_secret (or TOLLGATE_PEPPER_SECRET): is not set"
    );
}

#[test]
fn each_key_is_read_once() {
    let held: Vec<_> = read(&[]).unwrap().effective.iter().map(|e| e.key).collect();
    let known: Vec<_> = KEYS.iter().map(|k| k.name).collect();
    assert_eq!(held, known);
}

#[test]
fn the_table_tells_the_defaults_that_hold() {
    for e in read(&[]).unwrap().effective {
        let told = KEYS.iter().find(|k| k.name == e.key).unwrap().default.trim_matches('`');
        let holds = e.value.map(|v| v.trim_matches(['"', '[', ']']).to_owned());
        match told {
            "required" | "one per processor" => {}
            "none" | "empty" | "the listener's address" => assert_eq!(holds.unwrap_or_default(), "", "{}", e.key),
            "<data_dir>/takeover.sock" => assert_eq!(holds.as_deref(), Some("/var/lib/tollgate-edge/takeover.sock")),
            _ => assert_eq!(holds.as_deref(), Some(told), "{}", e.key),
        }
    }
}

#[test]
fn each_variable_is_read_or_refused_with_its_name() {
    let s = read(&[("TOLLGATE_EDGE_WORKERS", "3"), ("TOLLGATE_EDGE_DIAL_ALLOW", "127.0.0.0/8, ::1/128")]).unwrap();
    assert_eq!((s.edge.workers, s.edge.dial_allow.len()), (3, 2));
    for (key, bad) in [
        ("TOLLGATE_EDGE_WORKERS", "0"),
        ("TOLLGATE_EDGE_LISTEN", "nowhere"),
        ("TOLLGATE_EDGE_ADMIN", "0.0.0.0:9128"),
        ("TOLLGATE_EDGE_DIAL_ALLOW", "10.0.0.0/40"),
        ("TOLLGATE_EDGE_IDLE_S", "-1"),
        ("TOLLGATE_EDGE_TCP_KEEPALIVE_S", "350"),
        ("TOLLGATE_EDGE_VIA", "a b\r\n"),
        ("TOLLGATE_EDGE_USAGE_EVENTS", "some"),
        ("TOLLGATE_EDGE_ID", "Edge One"),
    ] {
        let wrong = read(&[(key, bad)]).unwrap_err();
        assert_eq!(wrong.0.len(), 1, "{wrong}");
        assert_eq!(wrong.0[0].place, key, "{bad}");
    }
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
    let file = "idle_s = 20\nkeep_alive_s = 21\nlisten = ['127.0.0.1:1', '[::1]:2']\n[access_log]\nkeep = 3\n";
    let s = Settings::read(&sources(file, &[("TOLLGATE_EDGE_IDLE_S", "30")])).unwrap();
    assert_eq!(s.edge.idle_timeout, Duration::from_secs(30));
    assert_eq!(s.edge.keep_alive_timeout, Duration::from_secs(21));
    assert_eq!((s.listen.len(), s.edge.access_log.keep), (2, 3));
    let shown = s.show();
    assert!(shown.contains("idle_s = 30  # TOLLGATE_EDGE_IDLE_S\n"), "{shown}");
    assert!(shown.contains("keep_alive_s = 21  # edge.toml\n"), "{shown}");
    assert!(
        shown.contains("header_s = 10  # default\n# tls") || shown.contains("header_s = 10  # default\n"),
        "{shown}"
    );
    // What is shown means the same.
    let again = Sources { file: Some(("shown".into(), shown)), ..Sources::default() };
    let again = Settings::read(&again).unwrap();
    assert_eq!(again.reloadable(), s.reloadable());
    assert!(again.fixed_changes(&s).is_empty());
}

#[test]
fn all_problems_are_told_at_once() {
    let found =
        problems("idel_s = 3\nworkers = 0\nid = 'x'\n[tls]\ncertificat = 'a'\nkey = 'b'\n[ports]\nfirst = 65000\n");
    assert_eq!(
        found,
        [
            "edge.toml: idel_s: is no known setting; did you mean idle_s?",
            "edge.toml: tls.certificat: is no known setting; did you mean tls.certificate?",
            "edge.toml: workers: 0 is not within 1–256",
            "edge.toml: tls.key: needs tls.certificate",
            "ports.count (or TOLLGATE_EDGE_PORTS_COUNT): ends at port 65999, beyond 65535",
        ]
    );
}

#[test]
fn values_of_the_wrong_kind_and_broken_files_are_refused() {
    assert_eq!(problems("idle_s = 1.5"), ["edge.toml: idle_s: takes text, a whole number or true/false, not a float"]);
    assert_eq!(problems("idle_s = [1]"), ["edge.toml: idle_s: takes one value, not a list"]);
    assert!(problems("idle_s = ")[0].starts_with("edge.toml: is no TOML: "));
    assert!(problems("listen = []")[0].contains("listen: names no address"));
    assert!(problems("listen = '127.0.0.1:9128'")[0].contains("asked for twice"));
    assert!(problems("tls.listen = '0.0.0.0:443'")[0].contains("tls.listen: needs tls.certificate"));
    let long = format!("takeover.socket = '/{}'", "x".repeat(120));
    assert!(problems(&long)[0].contains("longer than 107 bytes"));
    let wrong = read(&[("TOLLGATE_EDGE_IDEL_S", "3")]).unwrap_err().to_string();
    assert_eq!(wrong, "TOLLGATE_EDGE_IDEL_S: is no known setting; did you mean TOLLGATE_EDGE_IDLE_S?");
}

#[test]
fn a_reload_tells_which_changes_wait_for_the_next_start() {
    let before = read(&[]).unwrap();
    let after =
        read(&[("TOLLGATE_EDGE_IDLE_S", "7"), ("TOLLGATE_EDGE_WORKERS", "7"), ("TOLLGATE_EDGE_LISTEN", "[::]:1")]);
    let after = after.unwrap();
    assert_eq!(after.fixed_changes(&before), ["workers", "listen"]);
    assert_ne!(after.reloadable(), before.reloadable());
}

#[test]
fn the_example_file_is_valid_and_shows_every_key() {
    let text = include_str!("../../../infra/edge/edge.toml");
    let variables = Sources { file: Some(("edge.toml".into(), text.to_owned())), ..Sources::default() };
    Settings::read(&variables).unwrap();
    // With every comment that holds a setting taken off, it is valid too, and says the defaults.
    let bare: String = text
        .lines()
        .map(|l| l.strip_prefix("#").filter(|l| l.contains(" = ") && !l.starts_with(' ')).unwrap_or(l))
        .map(|l| format!("{l}\n"))
        .collect();
    let said = Sources { file: Some(("edge.toml".into(), bare)), ..Sources::default() };
    let s = Settings::read(&said).unwrap();
    for e in &s.effective {
        assert_ne!(e.origin, Origin::Default, "{} is not in the example", e.key);
    }
}
