//! The floor: a bare relay that only splices. One thread, edge-triggered epoll, pipes from a pool,
//! held only while bytes are in them; no credentials, no counting, no log.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, accept_with, connect, shutdown, socket_with, sockopt,
};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};

use crate::{Res, process};

pub const WHAT: &str = "a bare splice relay, one thread: no credentials, no metering, no log; the client talks to the \
    upstream with the upstream's credentials";

/// Bytes asked of one splice: more than a pipe holds.
const MOST: usize = 1 << 20;
/// Splices after which a busy flow lets the others run.
const TURN: usize = 16;
const LISTENER: u64 = u64::MAX;

/// Both ends of a pipe.
type Pipe = (OwnedFd, OwnedFd);

/// One direction.
#[derive(Default)]
struct Flow {
    pipe: Option<Pipe>,
    /// Bytes in the pipe.
    held: usize,
    ended: bool,
    finished: bool,
}

struct Relay {
    /// Client, upstream.
    socks: [OwnedFd; 2],
    readable: [bool; 2],
    writable: [bool; 2],
    /// From the client, from the upstream.
    flows: [Flow; 2],
}

enum After {
    Waits,
    Busy,
    Over,
}

/// Serves until the process ends.
///
/// # Errors
/// If it cannot.
pub fn serve(listener: TcpListener, upstream: SocketAddr) -> Res<()> {
    listener.set_nonblocking(true)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    process::ready(&[listener.local_addr()?]);
    let (mut relays, mut free) = (Vec::<Option<Relay>>::new(), Vec::new());
    let (mut busy, mut pool) = (VecDeque::new(), Vec::new());
    let mut events = Vec::with_capacity(256);
    loop {
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        events.clear();
        let found = epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), (!busy.is_empty()).then_some(&now));
        if !matches!(found, Ok(_) | Err(Errno::INTR)) {
            return Err("epoll failed".into());
        }
        let mut over = Vec::new();
        for event in &events {
            if event.data.u64() == LISTENER {
                accept(&listener, upstream, &poll, &mut relays, &mut free)?;
                continue;
            }
            let (at, side) = (usize::try_from(event.data.u64() / 2)?, usize::try_from(event.data.u64() % 2)?);
            if let Some(Some(relay)) = relays.get_mut(at) {
                let flags = event.flags;
                let broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
                relay.readable[side] |= broken || flags.intersects(EventFlags::IN | EventFlags::RDHUP);
                relay.writable[side] |= broken || flags.contains(EventFlags::OUT);
                busy.push_back(at);
            }
        }
        for _ in 0..busy.len() {
            let Some(at) = busy.pop_front() else { break };
            let Some(Some(relay)) = relays.get_mut(at) else { continue };
            match relay.pump(&mut pool) {
                Ok(After::Waits) => {}
                Ok(After::Busy) => busy.push_back(at),
                Ok(After::Over) | Err(_) => {
                    relays[at] = None;
                    over.push(at);
                }
            }
        }
        // Not before: an event of this round may still name them.
        free.append(&mut over);
    }
}

fn accept(
    listener: &TcpListener,
    upstream: SocketAddr,
    poll: &OwnedFd,
    relays: &mut Vec<Option<Relay>>,
    free: &mut Vec<usize>,
) -> Res<()> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    while let Ok(client) = accept_with(listener, flags) {
        let gateway = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&client, true)?;
        sockopt::set_tcp_nodelay(&gateway, true)?;
        match connect(&gateway, &upstream) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(_) => continue,
        }
        let at = free.pop().unwrap_or_else(|| {
            relays.push(None);
            relays.len() - 1
        });
        let socks = [client, gateway];
        for (sock, side) in socks.iter().zip(0..) {
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            epoll::add(poll, sock, EventData::new_u64(at as u64 * 2 + side), flags)?;
        }
        relays[at] = Some(Relay { socks, readable: [false; 2], writable: [false; 2], flows: Default::default() });
    }
    Ok(())
}

impl Relay {
    /// Moves what can be moved.
    fn pump(&mut self, pool: &mut Vec<Pipe>) -> Result<After, Errno> {
        let mut busy = false;
        for from in 0..2 {
            busy |= self.flow(from, pool)?;
        }
        if self.flows.iter().all(|f| f.finished) {
            return Ok(After::Over);
        }
        Ok(if busy { After::Busy } else { After::Waits })
    }

    /// Moves one direction; whether there may be more at once.
    fn flow(&mut self, from: usize, pool: &mut Vec<Pipe>) -> Result<bool, Errno> {
        let to = 1 - from;
        let flow = &mut self.flows[from];
        if flow.finished {
            return Ok(false);
        }
        let mut turns = 0;
        loop {
            if flow.held == 0 {
                if flow.ended {
                    // Not before it is connected.
                    if self.writable[to] {
                        let _ = shutdown(&self.socks[to], Shutdown::Write);
                        flow.finished = true;
                    }
                    break;
                }
                if !self.readable[from] {
                    break;
                }
                if turns == TURN {
                    return Ok(true);
                }
                turns += 1;
                let pipe = match flow.pipe.take() {
                    Some(pipe) => pipe,
                    None => pool.pop().map_or_else(|| pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC), Ok)?,
                };
                let moved = move_bytes(&self.socks[from], &pipe.1);
                flow.pipe = Some(pipe);
                match moved {
                    Ok(0) => flow.ended = true,
                    Ok(n) => flow.held = n,
                    Err(Errno::AGAIN) => self.readable[from] = false,
                    Err(e) => return Err(e),
                }
            }
            if flow.held > 0 {
                let Some(pipe) = flow.pipe.as_ref().filter(|_| self.writable[to]) else { break };
                match move_bytes(&pipe.0, &self.socks[to]) {
                    Ok(n) => flow.held -= n,
                    Err(Errno::AGAIN) => self.writable[to] = false,
                    Err(e) => return Err(e),
                }
            }
        }
        if flow.held == 0 {
            pool.extend(flow.pipe.take());
        }
        Ok(false)
    }
}

fn move_bytes(from: impl AsFd, to: impl AsFd) -> Result<usize, Errno> {
    splice(from, None, to, None, MOST, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)
}
