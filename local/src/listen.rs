//! Sockets to listen on, refused in words that say which flag helps.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use crate::failure::Failure;

/// Listens on `addr`, which `flag` chose; not blocking, for any runtime to take over.
///
/// # Errors
/// [`Failure::PortInUse`], [`Failure::Bind`].
pub fn listen(addr: SocketAddr, flag: &'static str) -> Result<TcpListener, Failure> {
    let bound = TcpListener::bind(addr).and_then(|l| l.set_nonblocking(true).map(|()| l));
    bound.map_err(|why| refused(addr, flag, why))
}

/// Where it listens.
///
/// # Errors
/// [`Failure::Part`].
pub fn local_addr(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|e| Failure::part("a listener", e))
}

/// Why `addr` cannot be listened on.
#[must_use]
pub fn refused(addr: SocketAddr, flag: &'static str, why: std::io::Error) -> Failure {
    match why.kind() {
        ErrorKind::AddrInUse => Failure::PortInUse { addr, flag },
        _ => Failure::Bind { addr, why, flag },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_named_with_its_flag() {
        let first = listen("127.0.0.1:0".parse().unwrap(), "--api").unwrap();
        let addr = first.local_addr().unwrap();
        let text = listen(addr, "--api").unwrap_err().to_string();
        assert!(text.contains(&addr.port().to_string()) && text.contains("--api"), "{text}");
    }
}
