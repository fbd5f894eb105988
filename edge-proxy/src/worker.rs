//! Relay workers: threads with a runtime and sockets of their own. One thread accepts and hands
//! each connection to the worker that carries the fewest.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tollgate_domain::id::UserName;

use crate::account::Login;
use crate::core::Core;
use crate::front;
use crate::relay::would_block;

/// Wait after a failed accept: usually descriptors are short, and come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Logins a worker keeps at hand.
const MAX_LOGINS: usize = 8192;

/// What one worker's tasks share.
pub(crate) struct Worker {
    pub index: usize,
    pub core: Arc<Core>,
    logins: RefCell<HashMap<UserName, Arc<Login>>>,
}

impl Worker {
    /// The login of `user`, if it was used here and is still good.
    pub fn login(&self, user: &UserName) -> Option<Arc<Login>> {
        let mut logins = self.logins.borrow_mut();
        let found = logins.get(user)?;
        if good(found) {
            return Some(Arc::clone(found));
        }
        logins.remove(user);
        None
    }

    pub fn remember(&self, login: &Arc<Login>) {
        let mut logins = self.logins.borrow_mut();
        if logins.len() >= MAX_LOGINS {
            logins.retain(|_, l| good(l));
            if logins.len() >= MAX_LOGINS {
                logins.clear();
            }
        }
        logins.insert(login.user.clone(), Arc::clone(login));
    }

    pub fn forget(&self, user: &UserName) {
        self.logins.borrow_mut().remove(user);
    }
}

fn good(login: &Login) -> bool {
    let known = login.credential.read().unwrap_or_else(std::sync::PoisonError::into_inner).is_some();
    known && !login.account.gone()
}

/// The threads of an edge that carry connections.
pub(crate) struct Crew {
    stop: Vec<oneshot::Sender<()>>,
    /// Closed to stop the acceptor.
    acceptor: Option<UnixStream>,
    threads: Vec<JoinHandle<()>>,
}

struct Seat {
    hand: mpsc::UnboundedSender<(TcpStream, SocketAddr)>,
    load: Arc<AtomicUsize>,
}

impl Crew {
    /// Starts workers and the acceptor.
    ///
    /// # Errors
    /// If a thread or a runtime cannot be made.
    pub fn start(core: &Arc<Core>, listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut crew = Self { stop: Vec::new(), acceptor: None, threads: Vec::new() };
        let mut seats = Vec::new();
        for index in 0..core.config.workers {
            let (hand, inbox) = mpsc::unbounded_channel();
            let (stop, stopped) = oneshot::channel();
            let load = Arc::new(AtomicUsize::new(0));
            let (core, count) = (Arc::clone(core), Arc::clone(&load));
            crew.thread(&format!("relay-{index}"), move |rt| {
                let worker = Rc::new(Worker { index, core, logins: RefCell::default() });
                let local = LocalSet::new();
                local.block_on(&rt, async {
                    tokio::select! {
                        () = work(worker, inbox, count) => {}
                        _ = stopped => {}
                    }
                });
            })?;
            crew.stop.push(stop);
            seats.push(Seat { hand, load });
        }
        let (stop, stopped) = UnixStream::pair()?;
        let core = Arc::clone(core);
        let run = move || accept(&core, &listener, &stopped, &seats);
        crew.threads.push(std::thread::Builder::new().name("accept".to_owned()).spawn(run)?);
        crew.acceptor = Some(stop);
        Ok(crew)
    }

    fn thread(&mut self, name: &str, run: impl FnOnce(tokio::runtime::Runtime) + Send + 'static) -> io::Result<()> {
        let rt = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        self.threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(move || run(rt))?);
        Ok(())
    }

    /// Accepts no more connections; those that were are served on.
    pub fn stop_accepting(&mut self) {
        self.acceptor.take();
    }

    /// Ends the threads with all they carry, and waits for them.
    pub fn stop(&mut self) {
        self.stop_accepting();
        self.stop.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

async fn work(worker: Rc<Worker>, mut inbox: mpsc::UnboundedReceiver<(TcpStream, SocketAddr)>, load: Arc<AtomicUsize>) {
    while let Some((stream, peer)) = inbox.recv().await {
        let seat = Seated::new(&worker.core, &load);
        let Ok(stream) = tokio::net::TcpStream::from_std(stream) else { continue };
        let worker = Rc::clone(&worker);
        tokio::task::spawn_local(async move {
            front::serve(worker, stream, peer).await;
            drop(seat);
        });
    }
    // The acceptor is gone; what is carried goes on until the worker is stopped.
    std::future::pending::<()>().await;
}

/// One connection in the counts, while this lives.
struct Seated {
    core: Arc<Core>,
    load: Arc<AtomicUsize>,
}

impl Seated {
    fn new(core: &Arc<Core>, load: &Arc<AtomicUsize>) -> Self {
        Self { core: Arc::clone(core), load: Arc::clone(load) }
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
        self.core.metrics.open_connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts until `stop` is closed from the other end.
fn accept(core: &Core, listener: &TcpListener, stop: &UnixStream, seats: &[Seat]) {
    loop {
        let mut watched = [PollFd::new(listener, PollFlags::IN), PollFd::new(stop, PollFlags::IN | PollFlags::HUP)];
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => {
                tracing::error!(error = %e, "the gateway listener cannot be watched");
                return;
            }
        }
        if !watched[1].revents().is_empty() {
            return;
        }
        loop {
            match listener.accept() {
                Ok((stream, peer)) => hand_over(core, stream, peer, seats),
                Err(e) if would_block(&e) => break,
                Err(e) => {
                    // The listener lives on: what is short comes back.
                    tracing::warn!(error = %e, "accept failed");
                    std::thread::sleep(ACCEPT_PAUSE);
                    break;
                }
            }
        }
    }
}

fn hand_over(core: &Core, stream: TcpStream, peer: SocketAddr, seats: &[Seat]) {
    let open = core.metrics.open_connections.load(Ordering::Relaxed);
    if open >= core.config.max_connections as u64 || stream.set_nonblocking(true).is_err() {
        return;
    }
    let Some(seat) = seats.iter().min_by_key(|s| s.load.load(Ordering::Relaxed)) else { return };
    core.metrics.connections.fetch_add(1, Ordering::Relaxed);
    core.metrics.open_connections.fetch_add(1, Ordering::Relaxed);
    seat.load.fetch_add(1, Ordering::Relaxed);
    // A worker ends only with its edge.
    let _ = seat.hand.send((stream, peer));
}
