//! Moving bytes between two legs: no buffer and no pipe is held while nothing flows, both
//! directions may end apart, and every byte at the customer's side passes the meter.

mod pipe;
mod pump;
mod side;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use crate::ledger::Dry;
use crate::leg::Leg;
use crate::meter::{Meter, Stop};
use crate::tunnel::{CloseReason, Tunnel};

pub(crate) use side::Side;

/// Bytes of the buffer that all tunnels of a thread share.
pub(crate) const BUFFER: usize = 64 << 10;

thread_local! {
    static SHARED: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// Lends the thread's buffer. Never across an await: `use_it` is not async.
pub(crate) fn with_buffer<T>(use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    SHARED.with_borrow_mut(|b| use_it(b))
}

/// Ends a connection so that what was written arrives: says the end, then reads away, for a
/// moment, what the client still sends. Closing with unread bytes would reset the connection.
pub(crate) async fn linger_close(leg: Leg, patience: Duration) {
    let _ = tokio::time::timeout(patience, async {
        leg.finish().await;
        let mut left = 1usize << 20;
        let mut away = Vec::new();
        while left > 0 {
            match leg.read_some(&mut away).await {
                Ok(0) | Err(_) => return,
                Ok(n) => left = left.saturating_sub(n),
            }
            away.clear();
        }
    })
    .await;
}

impl From<Stop> for CloseReason {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Dry(Dry::Quota) => Self::Quota,
            Stop::Dry(Dry::Store) | Stop::Full => Self::Store,
        }
    }
}

/// What each side sent before the relay began.
#[derive(Debug, Default)]
pub(crate) struct Early {
    pub client: Vec<u8>,
    pub upstream: Vec<u8>,
}

/// Relays until both sides have finished, one breaks, or the tunnel is ended.
pub(crate) async fn run(
    client: &Leg,
    upstream: &Leg,
    early: Early,
    meter: &Meter,
    tunnel: &Tunnel,
    idle: Duration,
) -> CloseReason {
    let (side, half) = (Side::new(client, meter), pump::Half::new(false));
    let both = async {
        tokio::try_join!(
            pump::up(&side, upstream, early.client, &half),
            pump::down(&side, upstream, early.upstream, &half)
        )
    };
    tokio::select! {
        biased;
        reason = tunnel.killed() => reason,
        ended = both => ended.err().unwrap_or(CloseReason::Finished),
        () = idle_for(&side, idle) => CloseReason::Idle,
    }
}

/// Waits until nothing has moved for `idle`.
pub(crate) async fn idle_for(side: &Side<'_>, idle: Duration) {
    loop {
        let end = side.last() + idle;
        tokio::time::sleep_until(end.into()).await;
        if side.last() + idle <= Instant::now() {
            return;
        }
    }
}
