//! Which process runs where: the proxy under test has one processor to itself.

use std::process::{Child, Command};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Res;

/// Who runs there.
#[derive(Clone, Copy)]
pub enum Place {
    /// The proxy under test.
    Proxy,
    /// All others.
    Others,
}

/// The processors of this run. With one alone nothing is pinned.
pub struct Cores {
    proxy: CpuSet,
    others: CpuSet,
    pub apart: bool,
}

impl Cores {
    /// The processors this process may use: the first for the proxy, the rest for all others.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn split() -> Res<Self> {
        let all = sched_getaffinity(None)?;
        let mut cores = Self { proxy: CpuSet::new(), others: CpuSet::new(), apart: all.count() > 1 };
        for cpu in (0..CpuSet::MAX_CPU).filter(|c| all.is_set(*c)) {
            let first = cores.proxy.count() == 0;
            if first || !cores.apart {
                cores.proxy.set(cpu);
            }
            if !first || !cores.apart {
                cores.others.set(cpu);
            }
        }
        Ok(cores)
    }

    fn of(&self, place: Place) -> &CpuSet {
        match place {
            Place::Proxy => &self.proxy,
            Place::Others => &self.others,
        }
    }

    /// Moves the calling thread, and the threads it will start, out of the proxy's way.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn settle(&self) -> Res<()> {
        Ok(sched_setaffinity(None, &self.others)?)
    }

    /// Starts a program in its place: a child inherits the place of the thread that starts it.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn spawn(&self, place: Place, command: &mut Command) -> Res<Child> {
        let set = self.of(place);
        let spawned = std::thread::scope(|s| {
            let spawning = s.spawn(|| -> std::io::Result<Child> {
                sched_setaffinity(None, set)?;
                command.spawn()
            });
            spawning.join()
        });
        let child = spawned.map_err(|_| "a thread panicked")?;
        child.map_err(|e| format!("cannot start {command:?}: {e}").into())
    }
}
