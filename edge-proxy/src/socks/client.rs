//! The side of the client: how we ask a SOCKS5 upstream, and what it answers.

use std::net::SocketAddr;

use secrecy::{ExposeSecret, SecretString};
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::target::{Host, Target};

use super::address::{self, Raw};
use super::{AUTH_VERSION, Method, VERSION, command, reply};

/// What the upstream is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask<'a> {
    /// A tunnel to a target; a name is passed on unresolved.
    Connect(&'a Target),
    /// A relay for datagrams from wherever they will come.
    UdpAssociate,
}

fn unreadable(what: &str) -> Refusal {
    Refusal::new(Code::UpstreamConnect, format!("the gateway's answer is unreadable: {what}"))
}

/// The greeting. Exactly one method is offered: with credentials an upstream must not choose to
/// do without them, because the user name also says which address is wanted.
pub(crate) fn greeting(method: Method) -> [u8; 3] {
    [VERSION, 1, method.code()]
}

/// Reads the choice of method; the number of bytes it took.
///
/// # Errors
/// `UPSTREAM_AUTH` if the upstream wants another method, `UPSTREAM_CONNECT` if it is unreadable.
pub(crate) fn chosen(buf: &[u8], offered: Method) -> Result<Option<usize>, Refusal> {
    version(buf, &[VERSION])?;
    match buf.get(1) {
        None => Ok(None),
        Some(b) if *b == offered.code() => Ok(Some(2)),
        Some(0xFF) if offered == Method::None => {
            Err(Refusal::new(Code::UpstreamAuth, "the gateway wants credentials and there are none"))
        }
        Some(0xFF) => Err(Refusal::new(Code::UpstreamAuth, "the gateway takes no user name and password")),
        Some(_) => Err(unreadable("a method that was not offered")),
    }
}

/// The credentials (RFC 1929).
///
/// # Errors
/// `UPSTREAM_AUTH` if either does not fit: a user name has 1–255 bytes, a password at most 255.
pub(crate) fn credentials(user: &str, password: &SecretString) -> Result<Vec<u8>, Refusal> {
    let password = password.expose_secret();
    let long = |what: &str| Refusal::new(Code::UpstreamAuth, format!("the gateway's {what} must have 1 to 255 bytes"));
    let user_length = u8::try_from(user.len()).ok().filter(|n| *n > 0).ok_or_else(|| long("user name"))?;
    let password_length = u8::try_from(password.len()).map_err(|_| long("password"))?;
    let mut out = Vec::with_capacity(3 + user.len() + password.len());
    out.extend_from_slice(&[AUTH_VERSION, user_length]);
    out.extend_from_slice(user.as_bytes());
    out.push(password_length);
    out.extend_from_slice(password.as_bytes());
    Ok(out)
}

/// Reads the answer to the credentials; the number of bytes it took.
///
/// # Errors
/// `UPSTREAM_AUTH` if they were refused, `UPSTREAM_CONNECT` if it is unreadable.
pub(crate) fn auth_status(buf: &[u8]) -> Result<Option<usize>, Refusal> {
    // Some servers send the version of SOCKS here. Only the status decides.
    version(buf, &[AUTH_VERSION, VERSION])?;
    match buf.get(1) {
        None => Ok(None),
        Some(0) => Ok(Some(2)),
        Some(_) => Err(Refusal::new(Code::UpstreamAuth, "the gateway refused our credentials")),
    }
}

/// The request.
///
/// # Errors
/// `REQUEST_INVALID` if the target's name does not fit.
pub(crate) fn request(ask: Ask<'_>) -> Result<Vec<u8>, Refusal> {
    let any = Host::Ip(std::net::Ipv4Addr::UNSPECIFIED.into());
    let (command, host, port) = match ask {
        Ask::Connect(target) => (command::CONNECT, &target.host, target.port),
        Ask::UdpAssociate => (command::UDP_ASSOCIATE, &any, 0),
    };
    let mut out = vec![VERSION, command, 0];
    let bad = || Refusal::new(Code::RequestInvalid, "the target's name does not fit into SOCKS5");
    address::write(&mut out, host, port).ok_or_else(bad)?;
    Ok(out)
}

/// Reads the answer to the request, a success: BND, if it is an address, and the number of bytes
/// it took. An upstream that listens on all addresses names none: then its own is meant.
///
/// # Errors
/// What was refused, as soon as the code is there, because some upstreams send nothing more.
pub(crate) fn answer(buf: &[u8]) -> Result<Option<(Option<SocketAddr>, usize)>, Refusal> {
    version(buf, &[VERSION])?;
    match buf.get(1) {
        None => return Ok(None),
        Some(&reply::SUCCEEDED) => {}
        Some(code) => return Err(failure(*code)),
    }
    // The reserved byte is not looked at: it decides nothing.
    let Some(after) = buf.get(3..) else { return Ok(None) };
    let Some((raw, port, length)) = address::read(after).map_err(|_| unreadable("an unknown address type"))? else {
        return Ok(None);
    };
    let bound = match raw {
        Raw::Ip(ip) => Some(SocketAddr::new(ip, port)),
        Raw::Name(_) => None,
    };
    Ok(Some((bound, 3 + length)))
}

/// What an upstream's reply code means to us.
fn failure(code: u8) -> Refusal {
    let (kind, what) = match code {
        reply::GENERAL_FAILURE => (Code::UpstreamConnect, "general failure"),
        reply::NOT_ALLOWED => (Code::UpstreamConnect, "not allowed by its rules"),
        reply::NETWORK_UNREACHABLE => (Code::UpstreamConnect, "network unreachable"),
        reply::HOST_UNREACHABLE => (Code::UpstreamConnect, "host unreachable"),
        reply::CONNECTION_REFUSED => (Code::UpstreamConnect, "connection refused"),
        reply::TTL_EXPIRED => (Code::UpstreamTimeout, "time to live expired"),
        reply::COMMAND_NOT_SUPPORTED => (Code::UpstreamConnect, "command not supported"),
        reply::ADDRESS_TYPE_NOT_SUPPORTED => (Code::UpstreamConnect, "address type not supported"),
        _ => (Code::UpstreamConnect, "an unknown code"),
    };
    Refusal::new(kind, format!("the gateway answered {code:#04x}: {what}"))
}

/// The first byte, if it is there, must be one of these versions.
fn version(buf: &[u8], versions: &[u8]) -> Result<(), Refusal> {
    match buf.first() {
        Some(b) if !versions.contains(b) => Err(unreadable("it does not speak SOCKS5")),
        _ => Ok(()),
    }
}
