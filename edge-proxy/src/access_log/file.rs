//! The file: appended to, rotated by size and age, the oldest deleted.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use tollgate_domain::time::Timestamp;

use crate::config::AccessLogConfig;

/// Wait after a failed open, or a failed rotation, before it is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Rotated files of one millisecond.
const MAX_SAME: u32 = 1000;

pub(super) struct LogFile {
    path: PathBuf,
    config: AccessLogConfig,
    open: Option<Open>,
    failed: Option<Instant>,
}

struct Open {
    file: File,
    bytes: u64,
    since: Timestamp,
    /// The last write stopped within a line.
    torn: bool,
}

impl LogFile {
    pub fn new(path: PathBuf, config: AccessLogConfig) -> Self {
        Self { path, config, open: None, failed: None }
    }

    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    pub fn configure(&mut self, config: AccessLogConfig) {
        self.config = config;
    }

    /// Opens the file under its name, whatever was open before.
    pub fn reopen(&mut self, now: Timestamp) -> io::Result<()> {
        self.open = None;
        let opened = OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path);
        let opened = opened.and_then(|file| file.metadata().map(|m| (file, m)));
        self.failed = opened.is_err().then(Instant::now);
        let (file, meta) = opened?;
        // A file from before this process: it is as old as it is, not as we are.
        let born = meta.created().or_else(|_| meta.modified()).ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let born = born.and_then(|d| u64::try_from(d.as_millis()).ok()).map_or(now, Timestamp::from_millis);
        let since = if meta.len() == 0 { now } else { born.min(now) };
        self.open = Some(Open { file, bytes: meta.len(), since, torn: meta.len() > 0 && !ends_a_line(&self.path) });
        Ok(())
    }

    /// Appends whole lines; how many of them are in the file, and what went wrong with the rest.
    pub fn append(&mut self, lines: &[u8], now: Timestamp) -> (u64, io::Result<()>) {
        if self.open.is_none() {
            if self.failed.is_some_and(|f| f.elapsed() < RETRY) {
                return (0, Ok(()));
            }
            if let Err(e) = self.reopen(now) {
                return (0, Err(e));
            }
        }
        let Some(open) = &mut self.open else { return (0, Ok(())) };
        if open.torn {
            if let Err(e) = open.file.write_all(b"\n") {
                return (0, Err(e));
            }
            open.torn = false;
            open.bytes += 1;
        }
        let mut done = 0;
        let outcome = loop {
            match open.file.write(&lines[done..]) {
                Ok(0) => break if done == lines.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) },
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break Err(e),
            }
            if done == lines.len() {
                break Ok(());
            }
        };
        open.bytes += done as u64;
        open.torn = done > 0 && lines[done - 1] != b'\n';
        let whole = lines[..done].iter().filter(|b| **b == b'\n').count();
        (whole as u64, outcome)
    }

    /// Rotates if `more` bytes would make the file too large, or it is too old; whether it did.
    pub fn rotate_if_due(&mut self, more: u64, now: Timestamp) -> io::Result<bool> {
        let Some(open) = &self.open else { return Ok(false) };
        if open.bytes == 0 || self.failed.is_some_and(|f| f.elapsed() < RETRY) {
            return Ok(false);
        }
        let large = self.config.max_bytes > 0 && open.bytes.saturating_add(more) > self.config.max_bytes;
        let old = !self.config.max_age.is_zero() && now.since(open.since) >= self.config.max_age;
        if large || old { self.rotate(now) } else { Ok(false) }
    }

    /// Renames the file after the instant, opens a new one, and deletes the oldest; whether there was
    /// anything to rotate.
    pub fn rotate(&mut self, now: Timestamp) -> io::Result<bool> {
        if self.open.as_ref().is_none_or(|o| o.bytes == 0) {
            return Ok(false);
        }
        let renamed = self.free_name(now).and_then(|to| std::fs::rename(&self.path, to));
        self.failed = renamed.is_err().then(Instant::now);
        renamed?;
        self.reopen(now)?;
        self.delete_old()?;
        Ok(true)
    }

    /// `access-20240229T120000.000Z.log` for `access.log`; with a number if it is taken.
    fn free_name(&self, now: Timestamp) -> io::Result<PathBuf> {
        let (stem, extension) = self.names();
        let at: String = now.to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
        for n in 0..MAX_SAME {
            let mut name = stem.clone();
            name.push(format!("{at}{}", if n == 0 { String::new() } else { format!("-{n:03}") }));
            name.push(&extension);
            let path = self.path.with_file_name(name);
            if !path.try_exists()? {
                return Ok(path);
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// What rotated names begin and end with.
    fn names(&self) -> (OsString, OsString) {
        let mut stem = self.path.file_stem().unwrap_or_default().to_owned();
        stem.push("-");
        let mut extension = OsString::new();
        if let Some(e) = self.path.extension() {
            extension.push(".");
            extension.push(e);
        }
        (stem, extension)
    }

    fn delete_old(&self) -> io::Result<()> {
        let (stem, extension) = self.names();
        let (Some(stem), Some(extension)) = (stem.to_str(), extension.to_str()) else { return Ok(()) };
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut rotated = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name();
            let of_ours = |n: &str| {
                let at = n.strip_prefix(stem)?.strip_suffix(extension)?;
                let day = at.get(..8)?.bytes().all(|b| b.is_ascii_digit());
                (day && at.as_bytes().get(8) == Some(&b'T')).then(|| at.to_owned())
            };
            if let Some(at) = name.to_str().and_then(of_ours) {
                rotated.push((at, name));
            }
        }
        // The instant sorts as text.
        rotated.sort();
        let surplus = rotated.len().saturating_sub(self.config.keep);
        for (_, name) in rotated.into_iter().take(surplus) {
            std::fs::remove_file(folder.join(name))?;
        }
        Ok(())
    }
}

/// Whether a crash left half a line at the end.
fn ends_a_line(path: &Path) -> bool {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut last = [0];
    let read = File::open(path).and_then(|mut f| {
        f.seek(SeekFrom::End(-1))?;
        f.read_exact(&mut last)
    });
    read.is_err() || last == *b"\n"
}
