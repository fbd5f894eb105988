//! The thread that writes.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::file::LogFile;
use super::{Message, Shared};
use crate::config::AccessLogConfig;

/// How often the writer looks at wishes and at the file's age without being woken.
const LOOK: Duration = Duration::from_secs(1);
/// A log that cannot be written is told of once in this time.
const WARN_EVERY: Duration = Duration::from_secs(60);

pub(super) struct Writer {
    shared: Arc<Shared>,
    file: Option<LogFile>,
    warned: Option<Instant>,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, config: AccessLogConfig) -> Self {
        let mut writer = Self { shared, file: None, warned: None };
        writer.configure(config);
        writer
    }

    pub fn run(mut self, inbox: &Receiver<Message>) {
        loop {
            let closing = self.shared.wishes.close.load(Ordering::Acquire);
            let next = if closing {
                inbox.try_recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                inbox.recv_timeout(LOOK)
            };
            match next {
                Ok(Message::Lines { bytes, records }) => self.lines(&bytes, records),
                Ok(Message::Wake) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.wishes();
        }
    }

    fn lines(&mut self, bytes: &[u8], records: u64) {
        let now = self.shared.clock.now();
        let (written, outcome) = match &mut self.file {
            Some(file) => {
                let rotated = file.rotate_if_due(bytes.len() as u64, now);
                self.rotated(rotated);
                let Some(file) = &mut self.file else { return };
                file.append(bytes, now)
            }
            None => match std::io::stderr().lock().write_all(bytes) {
                Ok(()) => (records, Ok(())),
                Err(e) => (0, Err(e)),
            },
        };
        let written = written.min(records);
        self.shared.counters.written.fetch_add(written, Ordering::Relaxed);
        self.shared.counters.dropped.fetch_add(records - written, Ordering::Relaxed);
        self.check(outcome, "written");
    }

    fn wishes(&mut self) {
        let taken = |wish: &AtomicBool| wish.swap(false, Ordering::AcqRel);
        let wishes = &self.shared.wishes;
        let config = wishes.config.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (reopen, rotate) = (taken(&wishes.reopen), taken(&wishes.rotate));
        if let Some(config) = config {
            self.configure(config);
        }
        let now = self.shared.clock.now();
        let Some(file) = &mut self.file else { return };
        if reopen {
            let opened = file.reopen(now);
            self.check(opened, "opened");
        }
        let Some(file) = &mut self.file else { return };
        let rotated = if rotate { file.rotate(now) } else { file.rotate_if_due(0, now) };
        self.rotated(rotated);
    }

    fn configure(&mut self, config: AccessLogConfig) {
        let Some(path) = config.path.clone() else {
            self.file = None;
            return;
        };
        match &mut self.file {
            Some(file) if *file.path() == path => file.configure(config),
            _ => {
                let mut file = LogFile::new(path, config);
                let opened = file.reopen(self.shared.clock.now());
                self.file = Some(file);
                self.check(opened, "opened");
            }
        }
    }

    fn rotated(&mut self, outcome: std::io::Result<bool>) {
        if matches!(outcome, Ok(true)) {
            self.shared.counters.rotations.fetch_add(1, Ordering::Relaxed);
        }
        self.check(outcome.map(|_| ()), "rotated");
    }

    fn check(&mut self, outcome: std::io::Result<()>, what: &'static str) {
        let Err(e) = outcome else { return };
        self.shared.counters.failures.fetch_add(1, Ordering::Relaxed);
        if self.warned.is_none_or(|w| w.elapsed() >= WARN_EVERY) {
            self.warned = Some(Instant::now());
            let dropped = self.shared.counters.dropped.load(Ordering::Relaxed);
            let path = self.file.as_ref().map(|f| f.path().display().to_string());
            tracing::warn!(error = %e, path, dropped, "the access log cannot be {what}");
        }
    }
}
