//! The two directions of a tunnel.
//!
//! Little is copied through the thread's buffer: one read, one write, nothing to keep. Much is
//! spliced, where both legs are plain: the payload never enters this process. A read that finds
//! much switches over, an event that brings little switches back. A pipe is held while bytes are on
//! their way, and goes to whoever needs one next as soon as a socket has run empty.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use rustix::pipe::{SpliceFlags, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::pipe::Pipe;
use super::side::{Sent, Side};
use super::{BUFFER, with_buffer};
use crate::journal::Direction;
use crate::leg::{Leg, would_block};
use crate::meter::OPERATION;
use crate::tunnel::CloseReason;

/// A read of this much says that more is coming.
const BULK: usize = 16 << 10;
/// A busy direction lets the others run after so many bytes.
const TURN: u64 = 512 << 10;

/// How much a direction has moved since the others ran.
#[derive(Default)]
struct Turn(u64);

impl Turn {
    async fn moved(&mut self, bytes: usize) {
        self.0 += bytes as u64;
        if self.0 >= TURN {
            self.0 = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// How a splice ended.
enum Spliced {
    /// So many bytes went, and for now there are no more. None at all: the source has ended, or
    /// there is no pipe; a read tells.
    Moved(usize),
    /// These sockets cannot be spliced.
    No,
}

fn both<'a>(a: &'a Leg, b: &'a Leg) -> Option<(&'a TcpStream, &'a TcpStream)> {
    a.plain().zip(b.plain())
}

/// Whether one direction of a tunnel has ended.
pub(super) type Half = Cell<bool>;

/// Says to `leg` that its direction has ended. Where that was the second one the legs are about to
/// be closed, which says the same on a plain one.
async fn finish(leg: &Leg, half: &Half) {
    if !half.replace(true) || leg.plain().is_none() {
        leg.finish().await;
    }
}

// === from the customer ===

/// Moves what the customer sends until it ends, then says the end to the upstream.
pub(super) async fn up(side: &Side<'_>, upstream: &Leg, early: Vec<u8>, half: &Half) -> Result<(), CloseReason> {
    let mut rest = early.as_slice();
    while !rest.is_empty() {
        side.meter.ready().await?;
        let due = side.meter.due(Direction::Ingress, rest.len()).await;
        if let Some(Ok(n)) = side.meter.operate(Direction::Ingress, due, Ok) {
            upstream.write_all(&rest[..n]).await.map_err(|_| CloseReason::Upstream)?;
            rest = &rest[n..];
        }
    }
    drop(early);
    let mut plain = both(side.leg, upstream);
    let (mut turn, mut bulk) = (Turn::default(), false);
    loop {
        if bulk && let Some((client, out)) = plain {
            side.readable().await?;
            match splice_up(side, client, out, &mut turn).await? {
                Spliced::Moved(0) => {}
                Spliced::Moved(n) => {
                    bulk = n >= BULK;
                    continue;
                }
                Spliced::No => plain = None,
            }
        }
        // What cannot be written at once is kept; the buffer is not.
        let received = side.receive(BUFFER, |cx, bytes| write_now(upstream, cx, bytes)).await?;
        let Some((n, rest)) = received else { break };
        let rest = rest.map_err(|_| CloseReason::Upstream)?;
        if !rest.is_empty() || upstream.plain().is_none() {
            upstream.write_all(&rest).await.map_err(|_| CloseReason::Upstream)?;
        }
        turn.moved(n).await;
        bulk = n >= BULK;
    }
    side.meter.quiet(Direction::Ingress);
    finish(upstream, half).await;
    Ok(())
}

/// Writes what fits; what does not is the answer.
fn write_now(to: &Leg, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<Vec<u8>> {
    match to.poll_write(cx, bytes) {
        Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
        Poll::Ready(Ok(n)) => Ok(bytes[n..].to_vec()),
        Poll::Ready(Err(e)) => Err(e),
        Poll::Pending => Ok(bytes.to_vec()),
    }
}

async fn splice_up(
    side: &Side<'_>,
    client: &TcpStream,
    upstream: &TcpStream,
    turn: &mut Turn,
) -> Result<Spliced, CloseReason> {
    let Some(pipe) = Pipe::take() else { return Ok(Spliced::Moved(0)) };
    let mut all = 0usize;
    loop {
        let due = side.meter.due(Direction::Ingress, OPERATION).await;
        let read = |most| client.try_io(Interest::READABLE, || through(client, &pipe.write, most));
        let n = match side.meter.operate(Direction::Ingress, due, read) {
            None => {
                side.dry().await?;
                continue;
            }
            Some(Ok(n @ 1..)) => n,
            // An end is believed from a read alone.
            Some(Ok(0)) => {
                pipe.put();
                return Ok(Spliced::Moved(all));
            }
            Some(Err(e)) if would_block(&e) => {
                side.meter.quiet(Direction::Ingress);
                pipe.put();
                return Ok(Spliced::Moved(all));
            }
            Some(Err(e)) if e.kind() == io::ErrorKind::InvalidInput => return Ok(Spliced::No),
            Some(Err(_)) => return Err(CloseReason::Client),
        };
        side.touch();
        let mut left = n;
        while left > 0 {
            match upstream.try_io(Interest::WRITABLE, || through(&pipe.read, upstream, left)) {
                Ok(n @ 1..) => left -= n.min(left),
                Ok(0) => return Err(CloseReason::Upstream),
                Err(e) if would_block(&e) => upstream.writable().await.map_err(|_| CloseReason::Upstream)?,
                Err(_) => return Err(CloseReason::Upstream),
            }
        }
        all = all.saturating_add(n);
        turn.moved(n).await;
    }
}

// === to the customer ===

/// Moves what the upstream sends until it ends, then says the end to the customer.
pub(super) async fn down(side: &Side<'_>, upstream: &Leg, early: Vec<u8>, half: &Half) -> Result<(), CloseReason> {
    side.send(&early).await?;
    drop(early);
    let mut plain = both(side.leg, upstream);
    let (mut turn, mut bulk) = (Turn::default(), false);
    loop {
        let readable = poll_fn(|cx| {
            let ready = upstream.poll_readable(cx);
            if ready.is_pending() {
                side.meter.quiet(Direction::Egress);
            }
            ready
        });
        readable.await.map_err(|_| CloseReason::Upstream)?;
        if bulk && let Some((client, from)) = plain {
            match splice_down(side, client, from, &mut turn).await? {
                Spliced::Moved(0) => {}
                Spliced::Moved(n) => {
                    bulk = n >= BULK;
                    continue;
                }
                Spliced::No => plain = None,
            }
        }
        let due = side.meter.due(Direction::Egress, BUFFER).await;
        let Some((n, rest)) = poll_fn(|cx| copy_down(side, upstream, cx, due)).await? else { break };
        if !rest.is_empty() || side.leg.plain().is_none() {
            side.send(&rest).await?;
        }
        turn.moved(n).await;
        bulk = n >= BULK;
    }
    side.meter.quiet(Direction::Egress);
    finish(side.leg, half).await;
    Ok(())
}

type Copied = Option<(usize, Vec<u8>)>;

/// Reads once and writes once: how much was read, and what could not be written. `None` = the end.
fn copy_down(side: &Side<'_>, upstream: &Leg, cx: &mut Context<'_>, due: usize) -> Poll<Result<Copied, CloseReason>> {
    with_buffer(|buf| {
        let most = due.min(buf.len());
        let read = upstream.poll_read(cx, &mut buf[..most]);
        if read.is_pending() {
            side.meter.quiet(Direction::Egress);
        }
        let n = ready!(read).map_err(|_| CloseReason::Upstream)?;
        if n == 0 {
            return Poll::Ready(Ok(None));
        }
        let sent = match side.poll_send(cx, &buf[..n]) {
            Poll::Ready(sent) => match sent? {
                Sent::Some(n) => n,
                Sent::Dry => 0,
            },
            Poll::Pending => 0,
        };
        Poll::Ready(Ok(Some((n, buf[sent..n].to_vec()))))
    })
}

async fn splice_down(
    side: &Side<'_>,
    client: &TcpStream,
    upstream: &TcpStream,
    turn: &mut Turn,
) -> Result<Spliced, CloseReason> {
    let Some(pipe) = Pipe::take() else { return Ok(Spliced::Moved(0)) };
    let mut all = 0usize;
    loop {
        // What is read can be written at once: no pipe waits full for its time to come.
        let due = side.meter.due(Direction::Egress, OPERATION).await;
        let n = match upstream.try_io(Interest::READABLE, || through(upstream, &pipe.write, due)) {
            Ok(n @ 1..) => n,
            Ok(0) => {
                pipe.put();
                return Ok(Spliced::Moved(all));
            }
            Err(e) if would_block(&e) => {
                side.meter.quiet(Direction::Egress);
                pipe.put();
                return Ok(Spliced::Moved(all));
            }
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => return Ok(Spliced::No),
            Err(_) => return Err(CloseReason::Upstream),
        };
        let mut left = n;
        while left > 0 {
            let write = |most| client.try_io(Interest::WRITABLE, || through(&pipe.read, client, most));
            match side.meter.operate(Direction::Egress, left, write) {
                None => side.meter.ready().await?,
                Some(Ok(n @ 1..)) => {
                    side.touch();
                    left -= n.min(left);
                }
                Some(Ok(0)) => return Err(CloseReason::Client),
                Some(Err(e)) if would_block(&e) => client.writable().await.map_err(|_| CloseReason::Client)?,
                Some(Err(_)) => return Err(CloseReason::Client),
            }
        }
        all = all.saturating_add(n);
        turn.moved(n).await;
    }
}

/// One splice of at most `most` bytes; never waits.
fn through(from: &impl std::os::fd::AsFd, to: &impl std::os::fd::AsFd, most: usize) -> io::Result<usize> {
    Ok(splice(from, None, to, None, most, SpliceFlags::NONBLOCK | SpliceFlags::MOVE)?)
}
