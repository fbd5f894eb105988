//! Pipes to splice through, lent while bytes flow and shared by a thread's tunnels.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// Bytes a pipe is asked to hold. The system may give less: an unprivileged user has 64 MiB in all.
const CAPACITY: usize = 256 << 10;
/// Empty pipes that a thread keeps.
const KEPT: usize = 32;
/// Pipes of the whole process; tunnels beyond copy instead.
const MOST: usize = 2048;

static MADE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static POOL: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// Both ends of a pipe.
pub(super) struct Pipe {
    pub read: OwnedFd,
    pub write: OwnedFd,
}

impl Pipe {
    /// An empty pipe; `None` where there are enough, or no descriptors: copy then.
    pub fn take() -> Option<Self> {
        if let Some(pipe) = POOL.with_borrow_mut(Vec::pop) {
            return Some(pipe);
        }
        if MADE.fetch_add(1, Ordering::Relaxed) >= MOST {
            MADE.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        match pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC) {
            Ok((read, write)) => {
                let _ = fcntl_setpipe_size(&write, CAPACITY);
                Some(Self { read, write })
            }
            Err(_) => {
                MADE.fetch_sub(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// Gives an empty pipe to the next that needs one. One that is not empty must be dropped.
    pub fn put(self) {
        POOL.with_borrow_mut(|pool| {
            if pool.len() < KEPT {
                pool.push(self);
            }
        });
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        MADE.fetch_sub(1, Ordering::Relaxed);
    }
}
