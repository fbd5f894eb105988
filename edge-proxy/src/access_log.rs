//! The access log: one JSON line per connection.
//!
//! A relay worker formats records into a buffer of its own ([`WorkerLog`]) and hands it, when it
//! is full or due, to one writer thread. It never waits: while the writer is stuck (a full pipe,
//! a dead disk) records are dropped and counted. No lock, no system call and no allocation per
//! record.

mod file;
mod record;
#[cfg(test)]
mod tests;
mod writer;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tollgate_domain::time::Clock;

use self::record::Formatter;
pub use self::record::{Kind, Record};
use self::writer::Writer;
use crate::config::AccessLogConfig;

/// A buffer is handed to the writer at this size, in bytes.
const FULL: usize = 32 << 10;
/// A buffer is handed to the writer at this age.
const DUE: Duration = Duration::from_millis(200);
/// Buffers that wait for the writer: with [`FULL`], about 8 MiB.
const QUEUE: usize = 256;
/// Room beyond [`FULL`], so that the last record before the hand-over does not move the buffer.
const SLACK: usize = 4 << 10;

/// What the log did since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records that reached the file, or standard error.
    pub written: u64,
    /// Records that were dropped: the writer was behind, or the file could not be written.
    pub dropped: u64,
    /// Writes, opens and renames that failed.
    pub failures: u64,
    /// Files that were rotated away.
    pub rotations: u64,
}

#[derive(Default)]
struct Counters {
    written: AtomicU64,
    dropped: AtomicU64,
    failures: AtomicU64,
    rotations: AtomicU64,
}

/// What is asked of the writer besides lines; it looks after each message.
struct Wishes {
    reopen: AtomicBool,
    rotate: AtomicBool,
    close: AtomicBool,
    config: Mutex<Option<AccessLogConfig>>,
}

enum Message {
    Lines {
        bytes: Vec<u8>,
        records: u64,
    },
    /// Look at the wishes.
    Wake,
}

struct Shared {
    clock: Arc<dyn Clock>,
    full_source: AtomicBool,
    counters: Counters,
    wishes: Wishes,
    queue: SyncSender<Message>,
}

/// The log of one edge. Dropped or closed it writes what it was handed.
pub struct AccessLog {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl AccessLog {
    /// Starts the writer. A file that cannot be opened is tried again with every buffer: traffic
    /// does not wait for a log.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(config: AccessLogConfig, clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        Self::with_queue(config, clock, QUEUE)
    }

    fn with_queue(config: AccessLogConfig, clock: Arc<dyn Clock>, length: usize) -> std::io::Result<Self> {
        let (queue, inbox) = sync_channel(length);
        let shared = Arc::new(Shared {
            clock,
            full_source: AtomicBool::new(config.full_source),
            counters: Counters::default(),
            wishes: Wishes {
                reopen: AtomicBool::new(false),
                rotate: AtomicBool::new(false),
                close: AtomicBool::new(false),
                config: Mutex::new(None),
            },
            queue,
        });
        let writer = Writer::new(Arc::clone(&shared), config);
        let run = move || writer.run(&inbox);
        let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn(run)?;
        Ok(Self { shared, writer: Mutex::new(Some(thread)) })
    }

    /// A worker's own end.
    #[must_use]
    pub fn worker(&self) -> WorkerLog {
        let full_source = self.shared.full_source.load(Ordering::Relaxed);
        let buffer = Buffer { bytes: Vec::new(), records: 0, since: None, formatter: Formatter::new(full_source) };
        WorkerLog { shared: Arc::clone(&self.shared), buffer: RefCell::new(buffer) }
    }

    /// Opens the file again under its name, without rotating: an external logrotate moved it.
    pub fn reopen(&self) {
        self.wish(&self.shared.wishes.reopen);
    }

    /// Rotates the file, whatever its size and age (`POST /admin/logs/rotate`).
    pub fn rotate_now(&self) {
        self.wish(&self.shared.wishes.rotate);
    }

    /// Applies other settings (a reload).
    pub fn reconfigure(&self, config: AccessLogConfig) {
        self.shared.full_source.store(config.full_source, Ordering::Relaxed);
        *self.shared.wishes.config.lock().unwrap_or_else(PoisonError::into_inner) = Some(config);
        let _ = self.shared.queue.try_send(Message::Wake);
    }

    fn wish(&self, wish: &AtomicBool) {
        wish.store(true, Ordering::Release);
        // With a full queue the writer has messages enough to wake it.
        let _ = self.shared.queue.try_send(Message::Wake);
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let c = &self.shared.counters;
        Stats {
            written: load(&c.written),
            dropped: load(&c.dropped),
            failures: load(&c.failures),
            rotations: load(&c.rotations),
        }
    }

    /// Writes what workers have handed over and ends the writer; waits at most `patience`, for
    /// what it writes to may be stuck. Workers flush first (dropping a [`WorkerLog`] does).
    pub fn close(&self, patience: Duration) {
        let Some(thread) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        self.wish(&self.shared.wishes.close);
        let end = Instant::now() + patience;
        while !thread.is_finished() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        if thread.is_finished() {
            let _ = thread.join();
        } else {
            tracing::warn!("the access log's writer is stuck; what it holds is lost");
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close(Duration::from_secs(1));
    }
}

impl std::fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessLog").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

struct Buffer {
    bytes: Vec<u8>,
    records: u64,
    /// When its first record came.
    since: Option<Instant>,
    formatter: Formatter,
}

/// One worker's end of the log; belongs to its thread. Dropped it flushes.
pub struct WorkerLog {
    shared: Arc<Shared>,
    buffer: RefCell<Buffer>,
}

impl WorkerLog {
    /// Notes one record. Never waits.
    pub fn record(&self, record: &Record<'_>) {
        let buffer = &mut *self.buffer.borrow_mut();
        if buffer.bytes.capacity() == 0 {
            buffer.bytes.reserve_exact(FULL + SLACK);
        }
        buffer.formatter.full_source = self.shared.full_source.load(Ordering::Relaxed);
        buffer.formatter.write(&mut buffer.bytes, record, self.shared.clock.now());
        buffer.records += 1;
        buffer.since.get_or_insert_with(Instant::now);
        if buffer.bytes.len() >= FULL {
            self.hand_over(buffer);
        }
    }

    /// Hands over what is older than 200 ms. The worker calls it from an interval.
    pub fn flush_due(&self) {
        let buffer = &mut *self.buffer.borrow_mut();
        if buffer.since.is_some_and(|s| s.elapsed() >= DUE) {
            self.hand_over(buffer);
        }
    }

    /// Hands over all.
    pub fn flush(&self) {
        self.hand_over(&mut self.buffer.borrow_mut());
    }

    fn hand_over(&self, buffer: &mut Buffer) {
        if buffer.records == 0 {
            return;
        }
        let records = std::mem::take(&mut buffer.records);
        let bytes = std::mem::take(&mut buffer.bytes);
        buffer.since = None;
        match self.shared.queue.try_send(Message::Lines { bytes, records }) {
            Ok(()) => {}
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => {
                self.shared.counters.dropped.fetch_add(records, Ordering::Relaxed);
                if let Message::Lines { mut bytes, .. } = message {
                    bytes.clear();
                    buffer.bytes = bytes;
                }
            }
        }
    }
}

impl Drop for WorkerLog {
    fn drop(&mut self) {
        self.flush();
    }
}
