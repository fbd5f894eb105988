//! The folder that outlives the process, used by one process at a time.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::failure::Failure;

/// Held while a process uses the folder; also the sign that we made it.
const LOCK: &str = "tollgate.lock";
/// Everything a run leaves behind, besides the lock.
const CONTENTS: [&str; 9] = [
    "dynamodb.sqlite",
    "dynamodb.sqlite-wal",
    "dynamodb.sqlite-shm",
    "secrets.json",
    "sandbox.json",
    "sandbox-ca.pem",
    "run.json",
    "edge",
    "edges",
];

/// A data directory that this process holds.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the folder (for its owner only) if it is not there, holds it, and empties it of what
    /// an earlier run left if `reset`.
    ///
    /// # Errors
    /// A folder that cannot be written, that another process holds, or, with `reset`, that is not
    /// ours.
    pub fn open(path: &Path, reset: bool) -> Result<Self, Failure> {
        let denied = |why: io::Error| Failure::DataDir { path: path.to_owned(), why };
        let ours = path.join(LOCK).exists();
        if reset && !ours && std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Failure::NotOurs(path.to_owned()));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(denied)?;
        let path = path.canonicalize().map_err(denied)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(path.join(LOCK)).map_err(denied)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Failure::Locked(path)),
            Err(e) => return Err(denied(e.into())),
        }
        let dir = Self { path, _lock: lock };
        if reset {
            dir.empty()?;
        }
        Ok(dir)
    }

    /// The folder itself, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or folder in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Replaces a file whole, so that no reader and no crash sees a part of it. For its owner only.
    ///
    /// # Errors
    /// [`Failure::DataDir`].
    pub fn replace(&self, name: &str, content: &[u8]) -> Result<(), Failure> {
        let path = self.join(name);
        replace(&path, content).map_err(|why| Failure::DataDir { path, why })
    }

    fn empty(&self) -> Result<(), Failure> {
        for name in CONTENTS {
            let path = self.join(name);
            let gone = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            match gone {
                Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(Failure::DataDir { path, why }),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Writes `content` beside `path`, then moves it there.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn one_process_at_a_time_holds_a_folder_that_only_its_owner_reads() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b");
        let held = DataDir::open(&path, false).unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let second = DataDir::open(&path, false).unwrap_err();
        assert!(matches!(second, Failure::Locked(_)), "{second}");
        assert!(second.to_string().contains("--data-dir"));
        drop(held);
        assert!(DataDir::open(&path, false).is_ok());
    }

    #[test]
    fn reset_deletes_what_we_made_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let stranger = temp.path().join("stranger");
        std::fs::create_dir(&stranger).unwrap();
        std::fs::write(stranger.join("secrets.json"), "theirs").unwrap();
        assert!(matches!(DataDir::open(&stranger, true), Err(Failure::NotOurs(_))));
        assert!(stranger.join("secrets.json").exists());

        let ours = temp.path().join("ours");
        let dir = DataDir::open(&ours, true).unwrap();
        dir.replace("secrets.json", b"{}").unwrap();
        std::fs::create_dir(ours.join("edge")).unwrap();
        std::fs::write(ours.join("notes.txt"), "mine").unwrap();
        drop(dir);
        let dir = DataDir::open(&ours, true).unwrap();
        assert!(!dir.join("secrets.json").exists() && !dir.join("edge").exists());
        assert!(dir.join("notes.txt").exists(), "only what a run leaves is deleted");
    }

    #[test]
    fn a_folder_that_cannot_be_is_named_with_the_flag() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        std::fs::write(&file, "").unwrap();
        let wrong = DataDir::open(&file.join("data"), false).unwrap_err();
        assert_eq!(wrong.exit_code(), 73);
        let text = wrong.to_string();
        assert!(text.contains("file/data") && text.contains("--data-dir"), "{text}");
    }
}
