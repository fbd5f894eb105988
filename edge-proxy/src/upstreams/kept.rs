//! The port map on disk: numbers survive restarts.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::{Value, json};

use super::row::Identity;

const NAME: &str = "ports.json";
const FRESH: &str = "ports.json-new";
/// A file that cannot be understood is put aside under this name.
const BROKEN: &str = "ports.json-broken";
/// More than 65,535 of the longest identities would take is no port map.
const MAX_BYTES: u64 = 64 << 20;

/// What was kept in `dir`; nothing where nothing was, or where it cannot be understood: ports are
/// then given anew, and the file is put aside.
///
/// # Errors
/// What the system says.
pub(super) fn load(dir: &Path) -> io::Result<BTreeMap<u16, Identity>> {
    let path = dir.join(NAME);
    let small = match fs::metadata(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other?.len() <= MAX_BYTES,
    };
    let understood = if small { understand(&fs::read(&path)?) } else { None };
    if let Some(ports) = understood {
        return Ok(ports);
    }
    tracing::error!(file = %path.display(), aside = BROKEN, "the kept port map is broken: ports are given anew");
    fs::rename(&path, dir.join(BROKEN))?;
    Ok(BTreeMap::new())
}

/// Keeps `ports` in `dir`: the old file stays whole until the new one is on the disk.
///
/// # Errors
/// What the system says.
pub(super) fn save(dir: &Path, ports: &BTreeMap<u16, Identity>) -> io::Result<()> {
    let ports: serde_json::Map<String, Value> =
        ports.iter().map(|(port, identity)| (port.to_string(), json!(identity.as_str()))).collect();
    let text = json!({ "version": 1, "ports": ports }).to_string();
    let fresh = dir.join(FRESH);
    // User names of upstreams are nobody else's business.
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, dir.join(NAME))?;
    File::open(dir)?.sync_all()
}

fn understand(bytes: &[u8]) -> Option<BTreeMap<u16, Identity>> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    if value.get("version")?.as_u64()? != 1 {
        return None;
    }
    let mut ports = BTreeMap::new();
    for (port, identity) in value.get("ports")?.as_object()? {
        ports.insert(port.parse().ok()?, Identity::from_kept(identity.as_str()?));
    }
    Some(ports)
}

#[cfg(test)]
mod tests {
    use tollgate_domain::upstream::Scheme;

    use super::*;

    #[test]
    fn what_is_kept_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path()).unwrap().is_empty());
        let ports: BTreeMap<_, _> =
            (0..3).map(|n| (4000 + n, Identity::new(Scheme::Socks5, Some("a\"b@"), "h.example", n))).collect();
        save(dir.path(), &ports).unwrap();
        save(dir.path(), &ports).unwrap();
        assert_eq!(load(dir.path()).unwrap(), ports);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_broken_file_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "{}", "{\"version\":2,\"ports\":{}}", "{\"version\":1,\"ports\":{\"x\":\"y\"}}", "[1"] {
            fs::write(dir.path().join(NAME), text).unwrap();
            assert!(load(dir.path()).unwrap().is_empty());
            assert_eq!(fs::read_to_string(dir.path().join(BROKEN)).unwrap(), text);
            assert!(!dir.path().join(NAME).exists());
        }
    }
}
