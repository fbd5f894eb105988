//! Relay workers: threads with a runtime and sockets of their own. One thread accepts and hands
//! each connection to the worker that carries the fewest.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tollgate_domain::id::UserName;

use crate::account::Login;
use crate::core::Core;
use crate::front;

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
    acceptor: Option<oneshot::Sender<()>>,
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
        let (stop, stopped) = oneshot::channel();
        let core = Arc::clone(core);
        crew.thread("accept", move |rt| {
            rt.block_on(async {
                tokio::select! {
                    () = accept(&core, listener, &seats) => {}
                    _ = stopped => {}
                }
            });
        })?;
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

async fn accept(core: &Core, listener: TcpListener, seats: &[Seat]) {
    let Ok(listener) = AsyncFd::new(listener) else {
        tracing::error!("the gateway listener cannot be watched");
        return;
    };
    loop {
        let accepted = match listener.readable().await {
            Ok(mut ready) => match ready.try_io(|l| l.get_ref().accept()) {
                Ok(accepted) => accepted,
                Err(_not_yet) => continue,
            },
            Err(e) => Err(e),
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                tracing::warn!(error = %e, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let open = core.metrics.open_connections.load(Ordering::Relaxed);
        if open >= core.config.max_connections as u64 || stream.set_nonblocking(true).is_err() {
            continue;
        }
        let Some(seat) = seats.iter().min_by_key(|s| s.load.load(Ordering::Relaxed)) else { return };
        core.metrics.connections.fetch_add(1, Ordering::Relaxed);
        core.metrics.open_connections.fetch_add(1, Ordering::Relaxed);
        seat.load.fetch_add(1, Ordering::Relaxed);
        if seat.hand.send((stream, peer)).is_err() {
            return;
        }
    }
}
