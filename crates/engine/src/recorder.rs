//! Which calls a story makes, in how many waves, for how many units.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::operation::Answer;

/// One attempt of a call: a repetition by the SDK is a call of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// As AWS spells it.
    pub operation: String,
    /// The tables it names.
    pub tables: Vec<String>,
    /// Its place in the sequence of all starts and ends.
    pub start: u64,
    /// Where it ended in that sequence; none while it runs.
    pub end: Option<u64>,
    /// Status of the answer; none if none was made.
    pub status: Option<u16>,
    /// What it consumed.
    pub consumed: Consumed,
}

/// Capacity units.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Consumed {
    /// Read units; an eventually consistent read of 4 KB is a half.
    pub read: f64,
    /// Write units; twice the size in a transaction.
    pub write: f64,
}

/// Writes down the calls of one or more clients.
#[derive(Debug, Default)]
pub struct Recorder {
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    clock: u64,
    calls: Vec<Call>,
}

impl Book {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

impl Recorder {
    /// An empty one.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// The calls so far, in the order in which they started.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.book().calls.clone()
    }

    /// The operations so far, in the order in which they started.
    #[must_use]
    pub fn operations(&self) -> Vec<String> {
        self.book().calls.iter().map(|c| c.operation.clone()).collect()
    }

    /// The most calls that ran strictly one after another: what latency is made of.
    #[must_use]
    pub fn waves(&self) -> usize {
        let mut calls = self.book().calls.iter().map(|c| (c.end.unwrap_or(u64::MAX), c.start)).collect::<Vec<_>>();
        calls.sort_unstable();
        let mut last_end = 0;
        let mut waves = 0;
        for (end, start) in calls {
            if start > last_end {
                waves += 1;
                last_end = end;
            }
        }
        waves
    }

    /// What all calls so far consumed.
    #[must_use]
    pub fn consumed(&self) -> Consumed {
        self.book().calls.iter().fold(Consumed::default(), |sum, call| Consumed {
            read: sum.read + call.consumed.read,
            write: sum.write + call.consumed.write,
        })
    }

    /// Forgets the calls so far.
    pub fn clear(&self) {
        self.book().calls.clear();
    }

    pub(crate) fn begin(self: &Arc<Self>, operation: &str, tables: Vec<String>) -> Seen {
        let mut book = self.book();
        let start = book.tick();
        book.calls.push(Call {
            operation: operation.to_owned(),
            tables,
            start,
            end: None,
            status: None,
            consumed: Consumed::default(),
        });
        Seen { recorder: Arc::clone(self), start }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that runs; it ends when this is dropped, whoever gives it up.
pub(crate) struct Seen {
    recorder: Arc<Recorder>,
    start: u64,
}

impl Seen {
    pub(crate) fn answered(self, answer: &Answer) {
        self.edit(|call| {
            call.status = Some(answer.status);
            let units = consumed_units(&answer.body);
            if is_write(&call.operation) {
                call.consumed.write = units;
            } else {
                call.consumed.read = units;
            }
        });
    }

    fn edit(&self, edit: impl FnOnce(&mut Call)) {
        let mut book = self.recorder.book();
        if let Some(call) = book.calls.iter_mut().find(|c| c.start == self.start) {
            edit(call);
        }
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        let now = self.recorder.book().tick();
        self.edit(|call| call.end = Some(now));
    }
}

fn is_write(operation: &str) -> bool {
    matches!(operation, "PutItem" | "UpdateItem" | "DeleteItem" | "BatchWriteItem" | "TransactWriteItems")
}

fn is_read(operation: &str) -> bool {
    matches!(operation, "GetItem" | "Query" | "Scan" | "BatchGetItem" | "TransactGetItems")
}

/// Makes a request report what it consumes, unless it asks for a report already; whether it was
/// changed.
pub(crate) fn ask_for_capacity(operation: &str, request: &mut Value) -> bool {
    let Some(fields) = request.as_object_mut().filter(|_| is_read(operation) || is_write(operation)) else {
        return false;
    };
    if fields.get("ReturnConsumedCapacity").is_some_and(|v| v != "NONE") {
        return false;
    }
    fields.insert("ReturnConsumedCapacity".into(), "TOTAL".into());
    true
}

/// Units in an answer: one report, or one for each table.
fn consumed_units(body: &str) -> f64 {
    let answer: Value = serde_json::from_str(body).unwrap_or_default();
    let units = |report: &Value| report["CapacityUnits"].as_f64().unwrap_or(0.0);
    match &answer["ConsumedCapacity"] {
        Value::Array(reports) => reports.iter().map(units).sum(),
        report => units(report),
    }
}
