//! Reading the file again: what changed is changed, what stayed is not touched.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::file::{self, LineProblem, Parsed};
use super::row::{Identity, Row, same};
use super::{FromFile, State, Upstreams, kept};
use crate::core::Core;

/// How often ports that could not be bound are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Bad lines named in the log; all are in the report.
const LOGGED: usize = 20;

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadReport {
    /// Upstreams that are new.
    pub added: usize,
    /// Upstreams that are gone; connections through them go on.
    pub removed: usize,
    /// Upstreams with another password or attribute; new connections use it.
    pub changed: usize,
    /// Upstreams as they were.
    pub kept: usize,
    /// Upstreams without a port: the range is too small.
    pub unbound: usize,
    /// Ports that could not be bound; they are tried again.
    pub failed: usize,
    /// Lines that were not taken.
    pub problems: Vec<LineProblem>,
}

/// Why nothing was reloaded.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file cannot be read: what was there before stays.
    #[error("cannot read {}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        why: std::io::Error,
    },
    /// The edge is stopping.
    #[error("the edge is stopping")]
    Stopping,
}

impl Upstreams {
    /// Reads the file and turns to what it says. Blocks on the disk; nothing to do without a file.
    ///
    /// # Errors
    /// [`ReloadError::File`]; all is as before then.
    pub fn reload(&self, now: Instant) -> Result<ReloadReport, ReloadError> {
        let Some(from_file) = &self.from_file else { return Ok(ReloadReport::default()) };
        let _one_at_a_time = from_file.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let path = &from_file.config.file;
        // Before reading: a change meanwhile is seen as one.
        let stamp = stamp(path);
        let bytes = file::read(path).map_err(|why| ReloadError::File { path: path.clone(), why })?;
        let parsed = file::parse(&bytes, &from_file.config.provider);
        let (report, held) = self.apply(from_file, parsed, stamp, now);
        if let Some(held) = held
            && let Err(e) = kept::save(&from_file.dir, &held)
        {
            tracing::error!(error = %e, "the port map cannot be kept: a restart may give other numbers");
        }
        let ReloadReport { added, removed, changed, kept, unbound, failed, problems } = &report;
        let bad_lines = problems.len();
        tracing::info!(added, removed, changed, kept, unbound, failed, bad_lines, "upstreams loaded");
        for problem in problems.iter().take(LOGGED) {
            tracing::warn!(line = problem.line, code = problem.code, "line not taken: {}", problem.why);
        }
        Ok(report)
    }

    /// Turns to what was read; the port map too, if it is another now.
    fn apply(
        &self,
        from_file: &FromFile,
        parsed: Parsed,
        stamp: Option<Stamp>,
        now: Instant,
    ) -> (ReloadReport, Option<BTreeMap<u16, Identity>>) {
        let mut report = ReloadReport { problems: parsed.problems, ..ReloadReport::default() };
        let mut guard = from_file.state();
        let state = &mut *guard;
        state.stamp = stamp;
        let order: Vec<Identity> = parsed.rows.iter().map(|row| row.identity.clone()).collect();
        let touched = self.turn_table(state, parsed.rows, &mut report);
        let before = state.map.held().clone();
        let turn = state.map.turn(&order);
        for port in turn.freed {
            state.doors.shut(port);
        }
        state.unbound.clear();
        for (identity, port) in order.into_iter().zip(turn.ports) {
            let Some(port) = port else {
                state.unbound.push(identity);
                continue;
            };
            // After a restart a port may be held and not be open.
            let as_before = before.get(&port) == Some(&identity) && state.doors.all().contains_key(&port);
            if as_before && !touched.contains(&identity) {
                continue;
            }
            if let Some(upstream) = state.rows.get(&identity) {
                state.doors.lead(port, upstream, now);
            }
        }
        state.doors.disown();
        report.failed = state.doors.failed();
        report.unbound = state.unbound.len();
        let held = (*state.map.held() != before).then(|| state.map.held().clone());
        (report, held)
    }

    /// Brings table and rows to `rows`; returns those that are new or differ.
    fn turn_table(&self, state: &mut State, rows: Vec<Row>, report: &mut ReloadReport) -> HashSet<Identity> {
        let mut old = std::mem::take(&mut state.rows);
        let mut touched = HashSet::new();
        let (mut come, mut gone) = (Vec::new(), Vec::new());
        for Row { identity, upstream } in rows {
            let before = old.remove(&identity);
            // Where nothing changed the old one stays itself.
            let upstream = match before {
                Some(before) if same(&before, &upstream) => {
                    report.kept += 1;
                    before
                }
                before => {
                    match before {
                        Some(_) => report.changed += 1,
                        None => report.added += 1,
                    }
                    gone.extend(before.filter(|b| b.id != upstream.id));
                    come.push(Arc::clone(&upstream));
                    touched.insert(identity.clone());
                    upstream
                }
            };
            state.rows.insert(identity, upstream);
        }
        report.removed = old.len();
        // A name may move from one upstream to another: first all that leaves, then all that comes.
        for upstream in old.into_values().chain(gone) {
            self.table.remove(&upstream.id);
        }
        for upstream in come {
            self.table.insert(upstream);
        }
        touched
    }
}

/// Tells one content of the file from another.
pub(super) type Stamp = (SystemTime, u64);

/// Tries failed ports again, and reloads when the file changes, if it is to be looked at.
pub(crate) async fn follow(core: Arc<Core>) {
    let Some(from_file) = &core.upstreams.from_file else { return };
    let mut looked = Instant::now();
    loop {
        tokio::time::sleep(from_file.config.poll.map_or(TICK, |poll| poll.min(TICK))).await;
        core.upstreams.retry(Instant::now());
        if from_file.config.poll.is_none_or(|poll| looked.elapsed() < poll) {
            continue;
        }
        looked = Instant::now();
        // A file that is being replaced is missing for a moment.
        let now = stamp(&from_file.config.file);
        if now.is_none() || now == from_file.state().stamp {
            continue;
        }
        let this = Arc::clone(&core);
        let done = tokio::task::spawn_blocking(move || this.upstreams.reload(Instant::now())).await;
        if let Ok(Err(e)) = done {
            tracing::error!(error = %e, "upstreams not reloaded");
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}
