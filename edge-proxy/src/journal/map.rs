//! A file as an array of atomic words. The only unsafe code of the edge.

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};

/// Size of a word in bytes.
const WORD: usize = size_of::<AtomicU64>();

/// A shared mapping of a whole file.
pub(super) struct Map {
    raw: MmapRaw,
    words: usize,
}

impl Map {
    /// Maps `file`, whose length must be `words` words. Other processes must not shrink it: they
    /// are kept out by the file's lock.
    pub fn new(file: &File, words: usize) -> io::Result<Self> {
        let raw = MmapOptions::new().len(words * WORD).map_raw(file)?;
        Ok(Self { raw, words })
    }

    /// The word at `index`.
    ///
    /// # Panics
    /// Beyond the end: indexes come from the layout, never from outside.
    #[allow(unsafe_code)] // a shared file cannot be lent as a slice: others may write it
    pub fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.words, "word {index} of {}", self.words);
        // SAFETY: the mapping is page-aligned, `words` words long, writable and lives as long as
        // `self`; all access in this process goes through these atomics.
        unsafe { &*self.raw.as_ptr().cast::<AtomicU64>().add(index) }
    }

    /// Writes all to the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.raw.flush()
    }
}
