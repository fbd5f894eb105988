//! Descriptors, for tests that hold many.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Allows this process, and what it starts, as many as the system lets it; how many those are.
pub fn as_many_as_allowed() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(1 << 20);
    if limit.current.is_some_and(|n| n < most) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum }).unwrap();
    }
    usize::try_from(most).unwrap()
}
