//! Lines that were read before: a line that is there again is not understood again.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use tollgate_domain::id::ProviderId;

use super::line::{self, Fault};
use crate::upstreams::row::Row;

/// The rows of the last file, by their lines. A line is known by 128 bits of keyed hash, so that
/// no password is kept twice, and nobody can make two lines of one hash.
#[derive(Default)]
pub(crate) struct Known {
    keys: [RandomState; 2],
    rows: HashMap<u128, Met>,
    reading: u64,
}

struct Met {
    row: Row,
    /// The reading that saw it last.
    at: u64,
}

impl Known {
    /// Begins a reading of the whole file.
    pub(super) fn begin(&mut self) {
        self.reading += 1;
    }

    /// The row of a line; the same object as before where the line is the same.
    pub(super) fn row(&mut self, text: &str, provider: &ProviderId) -> Result<Option<Row>, Fault> {
        let [a, b] = &self.keys;
        let key = u128::from(a.hash_one(text)) << 64 | u128::from(b.hash_one(text));
        if let Some(met) = self.rows.get_mut(&key) {
            met.at = self.reading;
            return Ok(Some(met.row.clone()));
        }
        let row = line::parse(text, provider)?;
        if let Some(row) = &row {
            self.rows.insert(key, Met { row: row.clone(), at: self.reading });
        }
        Ok(row)
    }

    /// Ends a reading: what it did not see is forgotten.
    pub(super) fn end(&mut self) {
        let reading = self.reading;
        self.rows.retain(|_, met| met.at == reading);
    }

    /// Rows known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}
