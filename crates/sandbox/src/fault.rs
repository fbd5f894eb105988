//! Faults on demand: each call kind has a queue, each entry serves one call.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lock;

/// Entries a queue may hold; later ones are dropped.
const MAX_QUEUE: usize = 10_000;

/// A kind of management call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// `POST /zone/ips`
    Buy,
    /// `DELETE /zone/ips`
    Release,
    /// `GET /zone/ips`
    List,
    /// `count_available_ips`
    Count,
    /// `GET /zone/cost`
    Cost,
    /// `GET /zone/bw`
    Bandwidth,
    /// `GET /status`
    Status,
    /// `GET /customer/balance`
    Balance,
}

/// How long bought addresses are missing from listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delay {
    /// From the next so many listings.
    Calls(u32),
    /// For so long on the sandbox's clock (`for_ms` in JSON).
    #[serde(rename = "for_ms", with = "millis")]
    For(Duration),
}

/// What goes wrong with one call. "The work" is what the call is for: charge, release, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Buy: sold out, said as the dialect says it. Count: 0. Elsewhere without effect.
    NoStock,
    /// This status instead of the work.
    Status {
        /// 200–999; 500 stands in for any other.
        code: u16,
        /// Seconds in `Retry-After`.
        #[serde(default)]
        retry_after: Option<u32>,
    },
    /// The work at once, the answer after so much real time (`slow_ms` in JSON).
    #[serde(rename = "slow_ms", with = "millis")]
    Slow(Duration),
    /// The work only after so much real time, even if the caller has gone by then (`late_ms`).
    #[serde(rename = "late_ms", with = "millis")]
    Late(Duration),
    /// The work, then the connection is closed without an answer.
    ChargedButAnswerLost,
    /// The work, then 500.
    #[serde(rename = "charged_then_500")]
    ChargedThen500,
    /// Buy: the bought addresses are missing from listings for a while.
    DelayedListing(Delay),
    /// No work, no answer, the connection stays open.
    Hang,
    /// The work, then 200 with a body that is not JSON.
    Garbage,
}

/// What happens to one call.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultSet(Vec<Fault>);

impl FaultSet {
    pub(crate) fn no_stock(&self) -> bool {
        self.0.contains(&Fault::NoStock)
    }

    pub(crate) fn hang(&self) -> bool {
        self.0.contains(&Fault::Hang)
    }

    pub(crate) fn lost(&self) -> bool {
        self.0.contains(&Fault::ChargedButAnswerLost)
    }

    pub(crate) fn garbage(&self) -> bool {
        self.0.contains(&Fault::Garbage)
    }

    pub(crate) fn charged_then_500(&self) -> bool {
        self.0.contains(&Fault::ChargedThen500)
    }

    pub(crate) fn status(&self) -> Option<(u16, Option<u32>)> {
        self.0.iter().find_map(|f| match f {
            Fault::Status { code, retry_after } => Some((*code, *retry_after)),
            _ => None,
        })
    }

    pub(crate) fn slow(&self) -> Option<Duration> {
        self.0.iter().find_map(|f| if let Fault::Slow(d) = f { Some(*d) } else { None })
    }

    pub(crate) fn late(&self) -> Option<Duration> {
        self.0.iter().find_map(|f| if let Fault::Late(d) = f { Some(*d) } else { None })
    }

    pub(crate) fn delayed_listing(&self) -> Option<Delay> {
        self.0.iter().find_map(|f| if let Fault::DelayedListing(d) = f { Some(*d) } else { None })
    }
}

/// The queues of faults, one per call kind.
#[derive(Debug, Default)]
pub struct Faults {
    queues: Mutex<BTreeMap<Call, VecDeque<FaultSet>>>,
}

impl Faults {
    /// Lets one future `call` suffer `fault`; calls take entries in the order they were pushed.
    pub fn push(&self, call: Call, fault: Fault) {
        self.push_set(call, [fault]);
    }

    /// Lets one future `call` suffer all `faults` together, as far as they go together.
    pub fn push_set(&self, call: Call, faults: impl IntoIterator<Item = Fault>) {
        let mut queues = lock(&self.queues);
        let queue = queues.entry(call).or_default();
        if queue.len() < MAX_QUEUE {
            queue.push_back(FaultSet(faults.into_iter().collect()));
        }
    }

    /// Entries that no call has taken yet.
    #[must_use]
    pub fn pending(&self, call: Call) -> usize {
        lock(&self.queues).get(&call).map_or(0, VecDeque::len)
    }

    /// Forgets every entry.
    pub fn clear(&self) {
        lock(&self.queues).clear();
    }

    pub(crate) fn take(&self, call: Call) -> FaultSet {
        lock(&self.queues).get_mut(&call).and_then(VecDeque::pop_front).unwrap_or_default()
    }
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        u64::deserialize(d).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_serve_one_call_each_in_order() {
        let faults = Faults::default();
        faults.push(Call::Buy, Fault::NoStock);
        faults.push_set(Call::Buy, [Fault::Slow(Duration::from_millis(3)), Fault::ChargedThen500]);
        assert!(faults.take(Call::List).status().is_none());
        assert!(faults.take(Call::Buy).no_stock());
        assert_eq!(faults.pending(Call::Buy), 1);
        let both = faults.take(Call::Buy);
        assert_eq!(both.slow(), Some(Duration::from_millis(3)));
        assert!(both.charged_then_500() && !both.lost());
        assert!(!faults.take(Call::Buy).charged_then_500());
    }

    #[test]
    fn every_fault_has_a_json_form() {
        for (json, fault) in [
            (r#""no_stock""#, Fault::NoStock),
            (r#"{"status":{"code":429,"retry_after":7}}"#, Fault::Status { code: 429, retry_after: Some(7) }),
            (r#"{"slow_ms":250}"#, Fault::Slow(Duration::from_millis(250))),
            (r#"{"late_ms":250}"#, Fault::Late(Duration::from_millis(250))),
            (r#""charged_but_answer_lost""#, Fault::ChargedButAnswerLost),
            (r#""charged_then_500""#, Fault::ChargedThen500),
            (r#"{"delayed_listing":{"calls":2}}"#, Fault::DelayedListing(Delay::Calls(2))),
            (r#"{"delayed_listing":{"for_ms":9}}"#, Fault::DelayedListing(Delay::For(Duration::from_millis(9)))),
            (r#""hang""#, Fault::Hang),
            (r#""garbage""#, Fault::Garbage),
        ] {
            assert_eq!(serde_json::from_str::<Fault>(json).unwrap(), fault, "{json}");
            assert_eq!(serde_json::to_string(&fault).unwrap(), json);
        }
    }
}
