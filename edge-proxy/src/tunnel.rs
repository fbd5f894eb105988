//! A live tunnel or request, as others see it: who it belongs to, how to end it, why it ended.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use tokio::sync::Notify;
use tollgate_domain::id::LineLabel;
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::time::Timestamp;

use crate::account::Login;
use crate::journal::Direction;
use crate::reach;
use crate::route::Route;

/// Why a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CloseReason {
    /// Both sides finished.
    Finished = 1,
    /// The customer's side broke.
    Client = 2,
    /// The upstream's side broke.
    Upstream = 3,
    /// No byte for too long.
    Idle = 4,
    /// The quota is used up.
    Quota = 5,
    /// The store gave no more bytes in time.
    Store = 6,
    /// The customer was banned.
    Banned = 7,
    /// The customer was locked out.
    Locked = 8,
    /// The plan expired.
    Expired = 9,
    /// An operator closed all tunnels.
    Kicked = 10,
    /// The credential was rotated or removed.
    Credential = 11,
    /// The line was closed, or another proxy serves it.
    Line = 12,
    /// The edge is shutting down.
    Drain = 13,
    /// The customer was deleted.
    Deleted = 14,
    /// Its source address is no longer listed, or must be now.
    Source = 15,
    /// The edge has not heard from the store for too long.
    Stale = 16,
}

impl CloseReason {
    /// The word in logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Idle => "idle",
            Self::Quota => "quota",
            Self::Store => "store",
            Self::Banned => "banned",
            Self::Locked => "locked",
            Self::Expired => "expired",
            Self::Kicked => "kicked",
            Self::Credential => "credential",
            Self::Line => "line",
            Self::Drain => "drain",
            Self::Deleted => "deleted",
            Self::Source => "source",
            Self::Stale => "stale",
        }
    }

    /// What a request is told that was ended before its answer began.
    pub(crate) fn refusal(self) -> Refusal {
        let (code, detail) = match self {
            Self::Stale => return reach::refusal(),
            Self::Quota => (Code::QuotaExhausted, "no bytes are left"),
            Self::Banned => (Code::Banned, "the account is banned"),
            Self::Locked => (Code::LockedOut, "the account is locked"),
            Self::Expired => (Code::PlanExpired, "the plan ended"),
            Self::Deleted => (Code::AuthFailed, "no such account"),
            Self::Source => (Code::IpNotAllowed, "this source address is not listed for the account"),
            Self::Credential => (Code::AuthFailed, "the credential was changed"),
            Self::Line => (Code::AssignInProgress, "the line changed"),
            Self::Kicked => (Code::UpstreamConnect, "the connection was closed by an operator"),
            Self::Drain => (Code::EdgeDraining, "this edge is shutting down"),
            Self::Store => (Code::StoreUnavailable, "no bytes could be leased in time"),
            Self::Idle => (Code::UpstreamTimeout, "the gateway did not answer in time"),
            Self::Finished | Self::Client | Self::Upstream => (Code::UpstreamConnect, "the connection broke"),
        };
        Refusal::new(code, detail)
    }

    const KILLS: [Self; 11] = [
        Self::Quota,
        Self::Banned,
        Self::Locked,
        Self::Expired,
        Self::Kicked,
        Self::Credential,
        Self::Line,
        Self::Drain,
        Self::Deleted,
        Self::Source,
        Self::Stale,
    ];
}

/// Why a tunnel may pass.
#[derive(Clone)]
pub(crate) enum Pass {
    /// A password that matched this verifier.
    Password { login: Arc<Login>, verifier: Arc<str> },
    /// Its source address is listed for the customer.
    Source,
}

impl Pass {
    /// Whether it still holds. Whether an address is still listed is looked at when a list changes.
    pub fn holds(&self, now: Timestamp) -> bool {
        match self {
            Self::Password { login, verifier } => login.passes(verifier, now),
            Self::Source => true,
        }
    }
}

/// A live tunnel.
pub(crate) struct Tunnel {
    pub id: u64,
    pub line: LineLabel,
    pub route: Arc<Route>,
    pub pass: Pass,
    /// Who is asking.
    pub source: IpAddr,
    /// Where it came in.
    pub listener_port: u16,
    pub correlation_id: String,
    pub opened_at: Timestamp,
    /// Bytes from the client and to it so far, for who looks at it. Its meter writes them.
    moved: [AtomicU64; 2],
    killed: AtomicU8,
    notify: Notify,
}

static IDS: AtomicU64 = AtomicU64::new(1);

impl Tunnel {
    pub fn new(
        line: LineLabel,
        route: Arc<Route>,
        pass: Pass,
        source: IpAddr,
        listener_port: u16,
        correlation_id: String,
        opened_at: Timestamp,
    ) -> Self {
        Self {
            id: Self::next_id(),
            line,
            route,
            pass,
            source,
            listener_port,
            correlation_id,
            opened_at,
            moved: [const { AtomicU64::new(0) }; 2],
            killed: AtomicU8::new(0),
            notify: Notify::new(),
        }
    }

    /// A number that no other connection of this process has or had.
    pub fn next_id() -> u64 {
        IDS.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes how many bytes moved in a direction, in all. For its meter alone.
    pub fn note_moved(&self, direction: Direction, total: u64) {
        self.moved[usize::from(direction == Direction::Egress)].store(total, Ordering::Relaxed);
    }

    /// Bytes so far: from the client, to the client.
    pub fn moved(&self) -> (u64, u64) {
        let [ingress, egress] = &self.moved;
        (ingress.load(Ordering::Relaxed), egress.load(Ordering::Relaxed))
    }

    /// Ends it; the first reason counts.
    pub fn kill(&self, reason: CloseReason) {
        let _ = self.killed.compare_exchange(0, reason as u8, Ordering::AcqRel, Ordering::Acquire);
        self.notify.notify_one();
    }

    fn reason(&self) -> Option<CloseReason> {
        let n = self.killed.load(Ordering::Acquire);
        CloseReason::KILLS.into_iter().find(|r| *r as u8 == n)
    }

    /// Waits until somebody ends it. For its own task alone.
    pub async fn killed(&self) -> CloseReason {
        loop {
            if let Some(reason) = self.reason() {
                return reason;
            }
            self.notify.notified().await;
        }
    }
}
