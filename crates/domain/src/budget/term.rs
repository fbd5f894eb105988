//! When a bucket ends, as far as its name tells.

use std::time::Duration;

use super::Bucket;
use crate::time::Timestamp;

/// No period is shorter: February's.
const SHORTEST_PERIOD: Duration = Duration::from_secs(28 * 86_400);

impl Bucket {
    /// Before this instant the bucket has not ended, whatever its terms say: so that most buckets
    /// can be left aside without being read.
    #[must_use]
    pub fn ends_no_sooner_than(&self) -> Timestamp {
        match self {
            Self::Plan { start } | Self::Unlimited { start } => start.plus(SHORTEST_PERIOD),
            Self::Pack { expires, .. } => *expires,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_month_ends_before_its_bucket_may() {
        let mut start = Timestamp::from_secs(1_767_225_600); // 2026-01-01
        for _ in 0..48 {
            let ends = start.next_month_start();
            for bucket in [Bucket::Plan { start }, Bucket::Unlimited { start }] {
                assert!(bucket.ends_no_sooner_than() <= ends, "{bucket}");
                assert!(bucket.ends_no_sooner_than() > start, "{bucket}");
            }
            start = ends;
        }
        let pack = Bucket::Pack { expires: start, pack: "p1".into() };
        assert_eq!(pack.ends_no_sooner_than(), start);
    }
}
