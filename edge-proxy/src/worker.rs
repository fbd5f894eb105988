//! Relay workers: threads with a runtime and sockets of their own. Each accepts for itself: no
//! connection ever moves between threads.

pub(crate) mod seats;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::oneshot;
use tollgate_domain::id::UserName;

use crate::access_log::WorkerLog;
use crate::account::Login;
use crate::config::LiveReader;
use crate::core::Core;
use crate::front;
use crate::ingress::accept::{Accepted, Acceptor};
use crate::ingress::listeners::Listeners;
use crate::resolve::Names;
use seats::{Seat, Seats};

/// How often a worker looks whether its access records are due.
const LOG_LOOK: Duration = Duration::from_millis(200);
/// Logins a worker keeps at hand.
const MAX_LOGINS: usize = 8192;

/// What one worker's tasks share.
pub(crate) struct Worker {
    pub index: usize,
    pub core: Arc<Core>,
    pub names: Names,
    pub log: WorkerLog,
    /// What SIGHUP may have changed.
    pub live: LiveReader,
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
    listeners: Arc<Listeners>,
    stop: Vec<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    /// Starts the workers; they accept from the core's listeners.
    ///
    /// # Errors
    /// If a thread or a runtime cannot be made.
    pub fn start(core: &Arc<Core>) -> io::Result<Self> {
        let config = &core.config;
        let listeners = Arc::clone(&core.listeners);
        let seats = Arc::new(Seats::new(config.workers, config.max_connections, Arc::clone(&core.metrics)));
        let mut crew = Self { listeners, stop: Vec::new(), threads: Vec::new() };
        for index in 0..config.workers {
            let (stop, stopped) = oneshot::channel();
            let (made, outcome) = mpsc::sync_channel(1);
            let (core, listeners, seats) = (Arc::clone(core), Arc::clone(&crew.listeners), Arc::clone(&seats));
            let run = move || {
                let (rt, acceptor) = match prepare(&listeners, &seats, index) {
                    Ok(ready) => ready,
                    Err(e) => return drop(made.send(Err(e))),
                };
                let _ = made.send(Ok(()));
                let (log, live) = (core.access_log.worker(), LiveReader::new(Arc::clone(&core.live)));
                let (names, logins) = (Names::default(), RefCell::default());
                let worker = Rc::new(Worker { index, core, names, log, live, logins });
                rt.block_on(async {
                    // Each a task: one that the driver wakes stands in line at once, where the future
                    // that is blocked on costs a write to the driver's own descriptor.
                    tokio::task::spawn_local(flush_log(Rc::clone(&worker)));
                    tokio::task::spawn_local(accept(worker, acceptor));
                    let _ = stopped.await;
                });
            };
            crew.threads.push(std::thread::Builder::new().name(format!("relay-{index}")).spawn(run)?);
            crew.stop.push(stop);
            outcome.recv().map_err(|_| io::Error::other("a relay thread died"))??;
        }
        Ok(crew)
    }

    /// Accepts no more connections; those that were are served on.
    pub fn stop_accepting(&mut self) {
        self.listeners.close();
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

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A worker's runtime, and its eye on the listeners. On its own thread: neither ever leaves it.
fn prepare(listeners: &Arc<Listeners>, seats: &Arc<Seats>, index: usize) -> io::Result<(LocalRuntime, Acceptor)> {
    let rt = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let acceptor = {
        let _in_worker = rt.enter();
        Acceptor::new(listeners, seats, index)?
    };
    Ok((rt, acceptor))
}

async fn accept(worker: Rc<Worker>, acceptor: Acceptor) {
    let serve = |accepted: Accepted, seat: Seat| {
        let worker = Rc::clone(&worker);
        tokio::task::spawn_local(async move {
            front::serve(worker, accepted).await;
            drop(seat);
        });
    };
    acceptor.run(serve).await;
}

/// Hands on access records that have waited for their buffer to fill.
async fn flush_log(worker: Rc<Worker>) {
    loop {
        tokio::time::sleep(LOG_LOOK).await;
        worker.log.flush_due();
    }
}
