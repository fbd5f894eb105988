//! The customer's side of a stream: what passes here is due, leased, journalled and counted.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::with_buffer;
use crate::journal::Direction;
use crate::leg::{Leg, would_block};
use crate::meter::Meter;
use crate::tunnel::CloseReason;

/// See the module.
pub(crate) struct Side<'a> {
    pub leg: &'a Leg,
    pub meter: &'a Meter,
    last: Cell<Instant>,
}

/// What became of bytes for the customer.
pub(super) enum Sent {
    Some(usize),
    /// The lease has run dry.
    Dry,
}

enum Got<T> {
    Some(usize, T),
    End,
    Dry,
}

/// A poll's answer as that of a system call.
fn called(poll: Poll<io::Result<usize>>) -> io::Result<usize> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl<'a> Side<'a> {
    pub fn new(leg: &'a Leg, meter: &'a Meter) -> Self {
        Self { leg, meter, last: Cell::new(Instant::now()) }
    }

    /// When a byte last moved.
    pub fn last(&self) -> Instant {
        self.last.get()
    }

    pub(super) fn touch(&self) {
        self.last.set(Instant::now());
    }

    /// Sends all of `bytes` to the customer.
    pub async fn send(&self, mut bytes: &[u8]) -> Result<(), CloseReason> {
        while !bytes.is_empty() {
            let due = self.meter.due(Direction::Egress, bytes.len()).await;
            match poll_fn(|cx| self.poll_send(cx, &bytes[..due])).await? {
                Sent::Some(n) => bytes = &bytes[n..],
                Sent::Dry => self.meter.ready().await?,
            }
        }
        self.leg.flush().await.map_err(|_| CloseReason::Client)
    }

    /// Sends what fits of bytes that are due.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<Sent, CloseReason>> {
        if let Self { leg: Leg::Plain(stream), .. } = self {
            ready!(stream.poll_write_ready(cx)).map_err(|_| CloseReason::Client)?;
        }
        let operated =
            self.meter.operate(Direction::Egress, bytes.len(), |g| called(self.leg.poll_write(cx, &bytes[..g])));
        Poll::Ready(match operated {
            None => Ok(Sent::Dry),
            Some(Ok(0)) => Err(CloseReason::Client),
            Some(Ok(n)) => {
                self.touch();
                Ok(Sent::Some(n))
            }
            Some(Err(e)) if would_block(&e) => return Poll::Pending,
            Some(Err(_)) => Err(CloseReason::Client),
        })
    }

    /// Reads what the customer sent, at most `limit` bytes, and hands it to `take` within the
    /// thread's buffer. `None` = the customer's end.
    pub async fn receive<T>(
        &self,
        limit: usize,
        mut take: impl FnMut(&mut Context<'_>, &[u8]) -> T,
    ) -> Result<Option<(usize, T)>, CloseReason> {
        loop {
            self.readable().await?;
            let due = self.meter.due(Direction::Ingress, limit).await;
            match poll_fn(|cx| self.poll_receive(cx, due, &mut take)).await? {
                Got::Some(n, taken) => return Ok(Some((n, taken))),
                Got::End => return Ok(None),
                Got::Dry => self.dry().await?,
            }
        }
    }

    /// Waits for bytes without holding anything.
    pub(super) async fn readable(&self) -> Result<(), CloseReason> {
        let ready = poll_fn(|cx| {
            let ready = self.leg.poll_readable(cx);
            if ready.is_pending() {
                self.meter.quiet(Direction::Ingress);
            }
            ready
        });
        ready.await.map_err(|_| CloseReason::Client)
    }

    fn poll_receive<T>(
        &self,
        cx: &mut Context<'_>,
        limit: usize,
        take: &mut impl FnMut(&mut Context<'_>, &[u8]) -> T,
    ) -> Poll<Result<Got<T>, CloseReason>> {
        with_buffer(|buf| {
            let limit = limit.min(buf.len());
            let operated =
                self.meter.operate(Direction::Ingress, limit, |g| called(self.leg.poll_read(cx, &mut buf[..g])));
            Poll::Ready(match operated {
                None => Ok(Got::Dry),
                Some(Ok(0)) => Ok(Got::End),
                Some(Ok(n)) => {
                    self.touch();
                    Ok(Got::Some(n, take(cx, &buf[..n])))
                }
                Some(Err(e)) if would_block(&e) => {
                    self.meter.quiet(Direction::Ingress);
                    return Poll::Pending;
                }
                Some(Err(_)) => Err(CloseReason::Client),
            })
        })
    }

    /// The lease has run dry and the customer's side is readable: bytes, or only its end?
    pub(super) async fn dry(&self) -> Result<(), CloseReason> {
        match (self.meter.ready().await, self.leg.plain()) {
            (Ok(()), _) => Ok(()),
            // One byte is read away if it is no end; the tunnel is over then.
            (Err(stop), Some(stream)) => match stream.peek(&mut [0]).await {
                Ok(0) => Err(CloseReason::Finished),
                _ => Err(stop.into()),
            },
            (Err(stop), None) => Err(stop.into()),
        }
    }
}
