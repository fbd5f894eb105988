//! Where the repository, its sources and its built binaries are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the root").to_path_buf()
}

/// The text of a file of the repository.
///
/// # Panics
/// If it cannot be read.
#[must_use]
pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// All Rust files under these folders of the repository, by their path from the root.
///
/// # Panics
/// If a folder cannot be read.
#[must_use]
pub fn sources(folders: &[&str]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut todo: Vec<PathBuf> = folders.iter().map(|f| root().join(f)).collect();
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root()).expect("below the root").display().to_string();
                found.insert(name, std::fs::read_to_string(&path).expect("a readable source"));
            }
        }
    }
    found
}

/// A built binary, beside the test that asks. `tests/run` builds all of them first; alone, a test
/// builds the one it wants, once.
///
/// # Panics
/// If it is not there and cannot be built.
#[must_use]
pub fn binary(package: &str, name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let path = target().join(name);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let by_the_run = std::env::var_os("TOLLGATE_BINS_BUILT").is_some() && path.exists();
    if !by_the_run && built.insert(package.to_owned()) {
        let profile = target();
        let mut build = Command::new(cargo());
        build.args(["build", "--quiet", "--locked", "--bins", "-p", package]).current_dir(root());
        if profile.file_name().is_some_and(|n| n == "release") {
            build.arg("--release");
        }
        build.env("CARGO_TARGET_DIR", profile.parent().expect("a target directory"));
        assert!(build.status().expect("cargo starts").success(), "{package} builds");
    }
    drop(built);
    assert!(path.exists(), "{} is built", path.display());
    path
}

/// The directory of this build's binaries: tests lie in its `deps`.
fn target() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    test.parent().and_then(Path::parent).expect("target/<profile>/deps").to_path_buf()
}

/// Where tools of the tests are installed, beside the builds.
///
/// # Panics
/// If the build has no directory.
#[must_use]
pub fn tools() -> PathBuf {
    target().parent().expect("a target directory").join("tools")
}

/// The cargo that runs the tests.
#[must_use]
pub fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// What `cargo metadata` says of this workspace on this platform.
///
/// # Panics
/// If cargo cannot say.
#[must_use]
pub fn metadata() -> Value {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let run = Command::new(cargo())
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &host])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    assert!(run.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).expect("cargo metadata is JSON")
}
