//! What systemd hears of the edge: `sd_notify(3)`, by hand, as it is a few datagrams.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The service manager, if there is one.
#[derive(Debug)]
pub struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// From `NOTIFY_SOCKET` and `WATCHDOG_USEC`, read through `get`. `WATCHDOG_PID` is not looked
    /// at: the only process that inherits these variables is our own successor, and it must keep
    /// the watchdog fed.
    pub fn new(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let to = get("NOTIFY_SOCKET").filter(|p| !p.is_empty()).and_then(|path| match connect(&path) {
            Ok(to) => Some(to),
            Err(e) => {
                tracing::warn!(error = %e, "the service manager cannot be notified");
                None
            }
        });
        let usec = get("WATCHDOG_USEC").and_then(|t| t.to_str()?.parse::<u64>().ok()).filter(|n| *n > 0);
        let watchdog = usec.filter(|_| to.is_some()).map(Duration::from_micros);
        Self { to, watchdog }
    }

    /// How often [`Self::alive`] is to be said: half of what the manager waits.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|w| w / 2)
    }

    /// It serves, or serves again after a reload.
    pub fn ready(&self) {
        self.say("READY=1\nSTATUS=serving");
    }

    /// A reload begins.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let usec = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
    }

    /// It shuts down.
    pub fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=draining");
    }

    /// Another process is the service now; this one only ends its tunnels.
    pub fn succeeded_by(&self, pid: u32) {
        self.say(&format!("MAINPID={pid}"));
    }

    /// For the watchdog.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// A manager that does not listen is none of the edge's trouble.
    fn say(&self, text: &str) {
        if let Some((socket, to)) = &self.to
            && let Err(e) = socket.send_to_addr(text.as_bytes(), to)
        {
            tracing::debug!(error = %e, "the service manager was not notified");
        }
    }
}

fn connect(path: &OsString) -> io::Result<(UnixDatagram, SocketAddr)> {
    let to = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(Path::new(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, to))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buf = [0; 256];
        let n = socket.recv(&mut buf).unwrap();
        String::from_utf8(buf[..n].to_vec()).unwrap()
    }

    #[test]
    fn the_manager_hears_each_state() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let vars = |key: &str| match key {
            "NOTIFY_SOCKET" => Some(path.clone().into_os_string()),
            "WATCHDOG_USEC" => Some("30000000".into()),
            _ => None,
        };
        let notify = Notify::new(vars);
        assert_eq!(notify.watchdog_interval(), Some(Duration::from_secs(15)));
        notify.ready();
        assert_eq!(heard(&manager), "READY=1\nSTATUS=serving");
        notify.reloading();
        let usec = heard(&manager).strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse::<u64>().unwrap();
        assert!(usec > 0);
        notify.alive();
        assert_eq!(heard(&manager), "WATCHDOG=1");
        notify.succeeded_by(7);
        assert_eq!(heard(&manager), "MAINPID=7");
        notify.stopping();
        assert_eq!(heard(&manager), "STOPPING=1\nSTATUS=draining");
    }

    #[test]
    fn an_abstract_socket_is_reached_and_a_missing_manager_is_no_trouble() {
        let name = format!("tollgate-notify-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let notify = Notify::new(|k| (k == "NOTIFY_SOCKET").then(|| format!("@{name}").into()));
        assert_eq!(notify.watchdog_interval(), None);
        notify.ready();
        assert_eq!(heard(&manager), "READY=1\nSTATUS=serving");
        drop(manager);
        notify.ready();
        Notify::new(|_| None).ready();
        Notify::new(|k| (k == "NOTIFY_SOCKET").then(|| "x".repeat(500).into())).ready();
    }
}
