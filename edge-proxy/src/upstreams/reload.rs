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
        let mut known = from_file.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let path = &from_file.config.file;
        // Before reading: a change meanwhile is seen as one.
        let stamp = stamp(path);
        let bytes = file::read(path).map_err(|why| ReloadError::File { path: path.clone(), why })?;
        let parsed = file::parse_again(&bytes, &from_file.config.provider, &mut known);
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
        let touched = self.turn_table(state, parsed.rows, &order, &mut report);
        let held = if state.order.as_ref() == Some(&order) {
            // Nobody came, went or moved: every port stays whose it is.
            state.lead_anew(&touched, now);
            None
        } else {
            state.turn_ports(order, &touched, now)
        };
        state.doors.disown();
        report.failed = state.doors.failed();
        report.unbound = state.unbound.len();
        (report, held)
    }

    /// Brings table and rows to `rows`, which are those of `order`; returns those that are new or differ.
    fn turn_table(
        &self,
        state: &mut State,
        rows: Vec<Row>,
        order: &[Identity],
        report: &mut ReloadReport,
    ) -> HashSet<Identity> {
        let before = state.rows.len();
        let mut touched = HashSet::new();
        let (mut come, mut gone) = (Vec::new(), Vec::new());
        for Row { identity, upstream } in rows {
            let old = state.rows.get(&identity);
            // Where nothing changed the old one stays itself.
            if old.is_some_and(|old| Arc::ptr_eq(old, &upstream) || same(old, &upstream)) {
                report.kept += 1;
                continue;
            }
            touched.insert(identity.clone());
            come.push(Arc::clone(&upstream));
            match state.rows.insert(identity, Arc::clone(&upstream)) {
                Some(old) => {
                    report.changed += 1;
                    gone.extend(Some(old).filter(|old| old.id != upstream.id));
                }
                None => report.added += 1,
            }
        }
        report.removed = before - (report.kept + report.changed);
        if report.removed > 0 {
            let stay: HashSet<&Identity> = order.iter().collect();
            gone.extend(state.rows.extract_if(|identity, _| !stay.contains(identity)).map(|(_, upstream)| upstream));
        }
        // A name may move from one upstream to another: first all that leaves, then all that comes.
        for upstream in gone {
            self.table.remove(&upstream.id);
        }
        for upstream in come {
            self.table.insert(upstream);
        }
        touched
    }
}

impl State {
    /// Leads the ports of changed rows to what these are now.
    fn lead_anew(&mut self, touched: &HashSet<Identity>, now: Instant) {
        if touched.is_empty() {
            return;
        }
        let changed = self.map.held().iter().filter(|(_, identity)| touched.contains(*identity));
        for (port, identity) in changed {
            if let Some(upstream) = self.rows.get(identity) {
                self.doors.lead(*port, upstream, now);
            }
        }
    }

    /// Gives the rows in `order` their ports; who has which, if that is another map now.
    fn turn_ports(
        &mut self,
        order: Vec<Identity>,
        touched: &HashSet<Identity>,
        now: Instant,
    ) -> Option<BTreeMap<u16, Identity>> {
        let before = self.map.held().clone();
        let turn = self.map.turn(&order);
        for port in turn.freed {
            self.doors.shut(port);
        }
        self.unbound.clear();
        for (identity, port) in order.iter().zip(turn.ports) {
            let Some(port) = port else {
                self.unbound.push(identity.clone());
                continue;
            };
            // After a restart a port may be held and not be open.
            let as_before = before.get(&port) == Some(identity) && self.doors.all().contains_key(&port);
            if as_before && !touched.contains(identity) {
                continue;
            }
            if let Some(upstream) = self.rows.get(identity) {
                self.doors.lead(port, upstream, now);
            }
        }
        self.order = Some(order);
        (*self.map.held() != before).then(|| self.map.held().clone())
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
