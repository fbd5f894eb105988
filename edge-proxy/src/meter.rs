//! The meter of one tunnel: reserve from the lease, announce in the journal, do, count, give back.
//!
//! The metering point is the customer's side of the stream. A tunnel moves from bucket to bucket
//! as they run dry; when nothing is left anywhere it ends at the exact byte.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::sync::Arc;
use std::time::Instant;

use tollgate_domain::id::{LineLabel, ProxyId};

use crate::account::{Account, UsageId};
use crate::core::Core;
use crate::journal::Direction;
use crate::ledger::{Dry, Lease};
use crate::limits::shape::Shape;
use crate::tunnel::Tunnel;

/// Largest reservation for one system call, in bytes: what a crash leaves in doubt.
pub(crate) const OPERATION: usize = 256 << 10;

/// Counts one tunnel's bytes. Lives on its worker's thread.
pub(crate) struct Meter {
    core: Arc<Core>,
    account: Arc<Account>,
    line: LineLabel,
    proxy: ProxyId,
    worker: usize,
    shape: Shape,
    held: RefCell<Option<Held>>,
    /// Where others see what moved.
    tunnel: OnceCell<Arc<Tunnel>>,
    ingress: Cell<u64>,
    egress: Cell<u64>,
    first_byte: Cell<Option<Instant>>,
    counted: Cell<bool>,
}

struct Held {
    lease: Arc<Lease>,
    usage: UsageId,
    slot: usize,
}

/// Why no byte may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// See [`Dry`].
    Dry(Dry),
    /// The journal has no free slot.
    Full,
}

impl Meter {
    pub fn new(
        core: Arc<Core>,
        account: Arc<Account>,
        line: LineLabel,
        proxy: ProxyId,
        worker: usize,
        shape: Shape,
    ) -> Self {
        Self {
            core,
            account,
            line,
            proxy,
            worker,
            shape,
            held: RefCell::new(None),
            tunnel: OnceCell::new(),
            ingress: Cell::new(0),
            egress: Cell::new(0),
            first_byte: Cell::new(None),
            counted: Cell::new(false),
        }
    }

    /// Goes on over another proxy: what moved stays counted where it moved, and so does the
    /// connection. No tunnel shows it until one is attached again.
    pub fn turn_to(&mut self, proxy: &ProxyId) {
        self.tunnel = OnceCell::new();
        if self.proxy == *proxy {
            return;
        }
        if let Some(held) = self.held.get_mut().take() {
            self.account.leave_usage(&held.usage);
        }
        self.proxy = proxy.clone();
    }

    /// Shows what moves from now on, and has moved so far, in `tunnel`. Only the first one counts.
    pub fn attach(&self, tunnel: &Arc<Tunnel>) {
        tunnel.note_moved(Direction::Ingress, self.ingress.get());
        tunnel.note_moved(Direction::Egress, self.egress.get());
        let _ = self.tunnel.set(Arc::clone(tunnel));
    }

    /// Bytes counted so far: from the customer, to the customer.
    pub fn counted(&self) -> (u64, u64) {
        (self.ingress.get(), self.egress.get())
    }

    /// When the first byte went to the customer.
    pub fn first_byte(&self) -> Option<Instant> {
        self.first_byte.get()
    }

    /// Bytes, at most `want`, that the customer's rates allow now; waits until there are some.
    pub async fn due(&self, direction: Direction, want: usize) -> usize {
        let due = self.shape.due(direction, want as u64).await;
        usize::try_from(due).unwrap_or(want)
    }

    /// Whether the customer's rates allow `bytes` at once; they count as moved then.
    pub fn due_at_once(&self, bytes: usize) -> bool {
        self.shape.at_once(bytes as u64)
    }

    /// Nothing flows this way for now: what was due goes to others.
    pub fn quiet(&self, direction: Direction) {
        self.shape.idle(direction);
    }

    /// Waits until a byte may move.
    pub async fn ready(&self) -> Result<(), Stop> {
        self.ready_for(1).await
    }

    /// Waits until so many bytes may move at once.
    pub async fn ready_for(&self, bytes: usize) -> Result<(), Stop> {
        let need = bytes.max(1) as u64;
        if self.held.borrow().as_ref().is_some_and(|h| h.lease.left() >= need) {
            return Ok(());
        }
        let patience = self.core.config.lease_timeout;
        let lease = self.account.ledger.ready_for(need, patience).await.map_err(Stop::Dry)?;
        self.hold(lease)
    }

    fn hold(&self, lease: Arc<Lease>) -> Result<(), Stop> {
        let mut held = self.held.borrow_mut();
        if held.as_ref().is_some_and(|h| Arc::ptr_eq(&h.lease, &lease)) {
            return Ok(());
        }
        let (line, proxy) = (self.line.clone(), self.proxy.clone());
        let usage = UsageId { lease: lease.slot, serial: lease.serial, line, proxy, worker: self.worker };
        let now = self.core.clock.now();
        let slot = self.account.join_usage(&self.core.journal, &usage, now).ok_or(Stop::Full)?;
        if !self.counted.replace(true) {
            self.core.journal.count_connection(slot);
        }
        if let Some(old) = held.replace(Held { lease, usage, slot }) {
            self.account.leave_usage(&old.usage);
        }
        Ok(())
    }

    /// Runs one non-blocking operation of up to `want` bytes. `None`: the lease has run dry, call
    /// [`Self::ready`] and try again.
    pub fn operate(
        &self,
        direction: Direction,
        want: usize,
        run: impl FnOnce(usize) -> io::Result<usize>,
    ) -> Option<io::Result<usize>> {
        let held = self.held.borrow();
        let h = held.as_ref()?;
        let grant = self.account.ledger.reserve(&h.lease, want.min(OPERATION) as u64);
        if grant == 0 {
            return None;
        }
        let (moved, out) = self.core.journal.operate(self.worker, h.slot, direction, grant, || {
            let out = run(usize::try_from(grant).unwrap_or(want));
            (out.as_ref().map_or(0, |n| *n as u64), out)
        });
        self.account.ledger.give_back(&h.lease, grant - moved);
        self.shape.used(direction, moved);
        let total = match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        };
        if moved > 0 && total.get() == 0 && direction == Direction::Egress {
            self.first_byte.set(Some(Instant::now()));
        }
        total.set(total.get() + moved);
        if let Some(tunnel) = self.tunnel.get() {
            tunnel.note_moved(direction, total.get());
        }
        self.core.metrics.moved(self.worker, direction, moved);
        Some(out)
    }

    /// Counts bytes that are in our hands already (a head, early data) before they go on.
    pub async fn charge(&self, direction: Direction, bytes: usize) -> Result<(), Stop> {
        let mut left = bytes;
        while left > 0 {
            self.ready().await?;
            let due = self.due(direction, left).await;
            if let Some(Ok(n)) = self.operate(direction, due, Ok) {
                left -= n.min(left);
            }
        }
        Ok(())
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(held) = self.held.borrow_mut().take() {
            self.account.leave_usage(&held.usage);
        }
    }
}
