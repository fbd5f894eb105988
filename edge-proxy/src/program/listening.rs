//! The sockets the program listens on: taken over where a running edge has them, else bound.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Settings;
use crate::takeover::{ListenerKind, NamedListener, Received};

/// Connections that wait to be accepted; the system's own limit (`net.core.somaxconn`) is lower by
/// default. A hand-over or a burst must fit.
const BACKLOG: i32 = 4096;

/// All that the settings ask for.
pub(super) fn listeners(settings: &Settings, received: &mut Option<Received>) -> Result<Vec<NamedListener>, String> {
    let wanted = settings.listen.iter().map(|a| (ListenerKind::Gateway, *a));
    let wanted = wanted.chain(settings.tls_listen.iter().map(|a| (ListenerKind::Tls, *a)));
    let wanted = wanted.chain([(ListenerKind::Admin, settings.admin)]);
    let one = |(kind, address)| {
        let taken = received.as_mut().and_then(|r| r.take(kind, address));
        let listener = taken.map_or_else(|| bind(address), Ok);
        listener.and_then(|l| NamedListener::new(kind, l)).map_err(|e| format!("cannot listen on {address}: {e}"))
    };
    let mut all = wanted.map(one).collect::<Result<Vec<_>, _>>()?;
    // Those of the port map that its file still wants are found again by their numbers.
    all.extend(received.as_mut().map(|r| r.take_all(ListenerKind::Port)).unwrap_or_default());
    Ok(all)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
