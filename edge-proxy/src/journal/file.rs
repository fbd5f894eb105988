//! Journal files: made, found, locked, checked.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use tollgate_domain::id::{EdgeId, EdgeSession};
use tollgate_domain::time::Timestamp;

use super::layout::{HEADER, Layout, MAGIC, VERSION, checksum, header, pack, unpack};
use super::map::Map;
use super::read::Remains;
use super::{Free, Journal};

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system refuses.
    #[error("cannot use {}: {why}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        why: io::Error,
    },
    /// It was written by another machine or edge: its bytes are theirs to settle.
    #[error(
        "the journal {} is foreign: {why}. Start that edge on its own machine to settle it, or, if that machine is \
         gone, declare its session lost and move the file away", path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What differs.
        why: String,
    },
    /// It is damaged, or no journal.
    #[error(
        "the journal {} is broken: {why}. Restore it from a copy, or move it away: its lease then stays charged until \
         its session is declared lost", path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

const PREFIX: &str = "journal-";
const SUFFIX: &str = ".tgj";
/// A journal whose header is not complete yet.
const UNFINISHED: &str = ".tgj-new";

impl Journal {
    /// Makes the journal of `session` in `dir`, allocated and locked.
    pub(crate) fn create(
        dir: &Path,
        session: &EdgeSession,
        (workers, leases, usages): (usize, usize, usize),
        now: Timestamp,
    ) -> Result<Self, JournalError> {
        let layout = Layout { workers, leases, usages };
        let stem = format!("{PREFIX}{}-{}", session.edge, session.epoch);
        let fresh = dir.join(format!("{stem}{UNFINISHED}"));
        let path = dir.join(format!("{stem}{SUFFIX}"));
        let file_error = |why: io::Error| JournalError::File { path: fresh.clone(), why };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)
            .map_err(file_error)?;
        lock(&file).map_err(file_error)?;
        // Allocated now: a full disk must be found here, not by a signal in the middle of a write.
        let bytes = (layout.words() * 8) as u64;
        fallocate(&file, FallocateFlags::empty(), 0, bytes).map_err(|e| file_error(e.into()))?;
        let map = Map::new(&file, layout.words()).map_err(file_error)?;
        let free = Free { leases: (0..leases).rev().collect(), usages: (0..usages).rev().collect() };
        let journal = Self { path: path.clone(), map, layout, free: Mutex::new(free), _file: file };
        journal.store(header::MAGIC, MAGIC);
        journal.store(header::VERSION, VERSION);
        journal.store(header::EPOCH, session.epoch);
        journal.store(header::WORKERS, workers as u64);
        journal.store(header::LEASES, leases as u64);
        journal.store(header::USAGES, usages as u64);
        journal.write(header::MACHINE, &machine());
        journal.write(header::EDGE, &edge_words(&session.edge));
        journal.store(header::CREATED, now.as_millis());
        journal.store(header::ALIVE, now.as_millis());
        journal.store(header::CHECKSUM, checksum((0..header::CHECKSUM).map(|w| journal.load(w))));
        journal.map.sync().map_err(file_error)?;
        std::fs::rename(&fresh, &path).map_err(file_error)?;
        Ok(journal)
    }
}

/// Journals of earlier lives of `edge` in `dir` whose process is gone, locked, oldest first.
/// Those of a live process are left alone.
pub(crate) fn earlier(dir: &Path, edge: &EdgeId) -> Result<Vec<Remains>, JournalError> {
    let mut found = Vec::new();
    let dir_error = |why: io::Error| JournalError::File { path: dir.to_owned(), why };
    for entry in std::fs::read_dir(dir).map_err(dir_error)? {
        let path = entry.map_err(dir_error)?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if !name.starts_with(PREFIX) || !(name.ends_with(SUFFIX) || name.ends_with(UNFINISHED)) {
            continue;
        }
        let file_error = |why: io::Error| JournalError::File { path: path.clone(), why };
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            // A predecessor ended cleanly a moment ago.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(file_error)?,
        };
        if !lock(&file).map_err(file_error)? || file.metadata().map_err(file_error)?.nlink() == 0 {
            continue;
        }
        if name.ends_with(UNFINISHED) {
            // Its process ended before it carried anything.
            std::fs::remove_file(&path).map_err(file_error)?;
            continue;
        }
        found.push(check(path, file, edge)?);
    }
    found.sort_by_key(|r| r.session.epoch);
    Ok(found)
}

/// Lives of `edge` whose journals in `dir` a live process holds; this process too, if it has one.
pub(crate) fn living(dir: &Path, edge: &EdgeId) -> Result<Vec<EdgeSession>, JournalError> {
    let mut found = Vec::new();
    let dir_error = |why: io::Error| JournalError::File { path: dir.to_owned(), why };
    let prefix = format!("{PREFIX}{edge}-");
    for entry in std::fs::read_dir(dir).map_err(dir_error)? {
        let path = entry.map_err(dir_error)?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let epoch = name.strip_prefix(&prefix).and_then(|n| n.strip_suffix(SUFFIX)).and_then(|n| n.parse().ok());
        let Some(epoch) = epoch else { continue };
        let held = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => lock(&file).map(|ours| !ours),
            // It ended a moment ago.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        };
        if held.map_err(|why| JournalError::File { path: path.clone(), why })? {
            found.push(EdgeSession { edge: edge.clone(), epoch });
        }
    }
    found.sort_by_key(|s| s.epoch);
    Ok(found)
}

fn check(path: PathBuf, file: File, edge: &EdgeId) -> Result<Remains, JournalError> {
    let broken = |why: &str| JournalError::Broken { path: path.clone(), why: why.to_owned() };
    let file_error = |why: io::Error| JournalError::File { path: path.clone(), why };
    let length = file.metadata().map_err(file_error)?.len();
    if length < (HEADER * 8) as u64 {
        return Err(broken("it is shorter than a header"));
    }
    let head = Map::new(&file, HEADER).map_err(file_error)?;
    let load = |w: usize| head.word(w).load(std::sync::atomic::Ordering::Acquire);
    let number = |w: usize| usize::try_from(load(w)).unwrap_or(usize::MAX);
    if load(header::MAGIC) != MAGIC || load(header::CHECKSUM) != checksum((0..header::CHECKSUM).map(load)) {
        return Err(broken("its header does not add up"));
    }
    if load(header::VERSION) != VERSION {
        return Err(broken("another version of this program wrote it"));
    }
    let words = |from: usize, n: usize| (from..from + n).map(load).collect::<Vec<_>>();
    let foreign = |why: String| JournalError::Foreign { path: path.clone(), why };
    if words(header::MACHINE, header::MACHINE_WORDS) != machine() {
        return Err(foreign("another machine wrote it".to_owned()));
    }
    let theirs = unpack(&words(header::EDGE, header::EDGE_WORDS)).unwrap_or_default();
    if theirs != edge.as_str() {
        return Err(foreign(format!("edge {theirs} wrote it, this is edge {edge}")));
    }
    let layout =
        Layout { workers: number(header::WORKERS), leases: number(header::LEASES), usages: number(header::USAGES) };
    if (layout.words() * 8) as u64 != length {
        return Err(broken("it is cut short"));
    }
    let session = EdgeSession { edge: edge.clone(), epoch: load(header::EPOCH) };
    let created = Timestamp::from_millis(load(header::CREATED));
    drop(head);
    let map = Map::new(&file, layout.words()).map_err(file_error)?;
    Remains::read(path, file, session, created, map, layout)
}

/// `false` if another process holds it.
fn lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn edge_words(edge: &EdgeId) -> Vec<u64> {
    // An edge id has at most 32 bytes; the field has room for them.
    pack(edge.as_str(), header::EDGE_WORDS).unwrap_or_else(|| vec![0; header::EDGE_WORDS])
}

/// Which machine this is, as four words: a hash of its id, or of its name where it has none.
fn machine() -> Vec<u64> {
    let id = std::fs::read_to_string("/etc/machine-id").map(|s| s.trim().to_owned()).ok().filter(|s| !s.is_empty());
    let name = id.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    let hash = Sha256::digest(format!("tollgate journal {name}"));
    let word = |b: &[u8]| b.iter().fold(0u64, |w, b| w << 8 | u64::from(*b));
    hash.chunks(8).map(word).collect()
}
