//! The side of the server: greeting, credentials, request; and what we answer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use secrecy::SecretString;
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::target::{self, Host, Target};

use super::address::{self, Raw};
use super::{AUTH_VERSION, Method, VERSION, command, reply};

/// The answer to a greeting without a method that will do; the connection is closed after it.
pub(crate) const NO_ACCEPTABLE_METHOD: [u8; 2] = [VERSION, 0xFF];

/// The methods that a client offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Greeting {
    /// [`Method::None`].
    pub none: bool,
    /// [`Method::Password`].
    pub password: bool,
}

/// Credentials as sent.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    /// 1–255 bytes.
    pub user: String,
    /// 0–255 bytes: some clients send an empty one with nothing but a user name.
    pub password: SecretString,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// A tunnel.
    Connect(Target),
    /// A relay for datagrams.
    UdpAssociate {
        /// The address the client will send from; `None` = it does not say.
        ip: Option<IpAddr>,
        /// The port it will send from; 0 = it does not say.
        port: u16,
    },
}

/// A request that is refused before anybody is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Goes to the client, see [`refused`].
    pub reply: u8,
    /// For counters and logs.
    pub refusal: Refusal,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { reply: refusal.code.socks_reply(), refusal }
    }
}

fn invalid(detail: impl Into<String>) -> Refusal {
    Refusal::new(Code::RequestInvalid, detail)
}

/// Reads VER, NMETHODS, METHODS.
///
/// # Errors
/// `REQUEST_INVALID`: another version, or no methods. Answer [`NO_ACCEPTABLE_METHOD`] and close.
pub(crate) fn greeting(buf: &[u8]) -> Result<Option<(Greeting, usize)>, Refusal> {
    version(buf, VERSION, "this is not SOCKS5")?;
    let Some(count) = buf.get(1) else { return Ok(None) };
    if *count == 0 {
        return Err(invalid("the greeting offers no methods"));
    }
    let length = 2 + usize::from(*count);
    let Some(methods) = buf.get(2..length) else { return Ok(None) };
    let offers = |method: Method| methods.contains(&method.code());
    Ok(Some((Greeting { none: offers(Method::None), password: offers(Method::Password) }, length)))
}

/// The answer to a greeting: the method we chose.
pub(crate) fn chosen(method: Method) -> [u8; 2] {
    [VERSION, method.code()]
}

/// Reads VER, ULEN, UNAME, PLEN, PASSWD (RFC 1929).
///
/// # Errors
/// `REQUEST_INVALID` for another version; `AUTH_FAILED` if the user name is empty, or either is
/// not UTF-8. Answer [`auth_status`]`(false)` and close.
pub(crate) fn credentials(buf: &[u8]) -> Result<Option<(Credentials, usize)>, Refusal> {
    version(buf, AUTH_VERSION, "the authentication is not of version 1")?;
    let Some((user, rest)) = buf.get(1..).and_then(counted) else { return Ok(None) };
    let Some((password, rest)) = counted(rest) else { return Ok(None) };
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned);
    let failed = |detail: &str| Refusal::new(Code::AuthFailed, detail);
    if user.is_empty() {
        return Err(failed("the user name is empty"));
    }
    let user = text(user).map_err(|_| failed("the user name is not UTF-8"))?;
    let password = text(password).map_err(|_| failed("the password is not UTF-8"))?;
    Ok(Some((Credentials { user, password: password.into() }, buf.len() - rest.len())))
}

/// The answer to credentials. A failure closes the connection.
pub(crate) fn auth_status(ok: bool) -> [u8; 2] {
    [AUTH_VERSION, if ok { 0x00 } else { 0x01 }]
}

/// Reads VER, CMD, RSV, ATYP, DST.ADDR, DST.PORT. A frame is read whole before it is judged, so
/// that nothing of it is left unread when its refusal is sent.
///
/// # Errors
/// Another version, reserved bits, an address type that does not exist, BIND and unknown commands,
/// a host that CONNECT would not take either, port 0. Answer [`refused`] and close.
pub(crate) fn request(buf: &[u8]) -> Result<Option<(Request, usize)>, Refused> {
    version(buf, VERSION, "the request is not of version 5")?;
    let Some(after) = buf.get(3..) else { return Ok(None) };
    let unknown_type = |_| Refused {
        reply: reply::ADDRESS_TYPE_NOT_SUPPORTED,
        refusal: invalid("the address is neither IPv4, IPv6 nor a name"),
    };
    let Some((raw, port, length)) = address::read(after).map_err(unknown_type)? else { return Ok(None) };
    if buf[2] != 0 {
        return Err(invalid("the reserved byte of the request is not zero").into());
    }
    let request = match buf[1] {
        command::CONNECT if port == 0 => return Err(invalid("the port must be a number from 1 to 65535").into()),
        command::CONNECT => Request::Connect(Target { host: host(raw)?, port }),
        command::UDP_ASSOCIATE => {
            let ip = match host(raw)? {
                Host::Ip(ip) if !ip.is_unspecified() => Some(ip.to_canonical()),
                // A name is not looked up: the association's own connection says more.
                Host::Ip(_) | Host::Name(_) => None,
            };
            Request::UdpAssociate { ip, port }
        }
        other => {
            let what = if other == command::BIND { "BIND is".to_owned() } else { format!("command {other} is") };
            let refusal = Refusal::new(Code::MethodNotAllowed, format!("{what} not supported"));
            return Err(Refused { reply: reply::COMMAND_NOT_SUPPORTED, refusal });
        }
    };
    Ok(Some((request, 3 + length)))
}

/// The answer to a request. `bound` is where the client's bytes leave us, or, for UDP ASSOCIATE,
/// where its datagrams are expected.
pub(crate) fn reply(code: u8, bound: SocketAddr) -> Vec<u8> {
    let mut out = vec![VERSION, code, 0];
    // A socket for both families names IPv4 addresses in IPv6's form.
    address::write_socket(&mut out, SocketAddr::new(bound.ip().to_canonical(), bound.port()));
    out
}

/// The answer that refuses a request; [`Code::socks_reply`] has the code. The connection is closed
/// after it, within ten seconds (RFC 1928 section 6).
pub(crate) fn refused(code: u8) -> Vec<u8> {
    reply(code, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0))
}

/// The host of an address: what is not an address literal follows the rules of CONNECT.
pub(super) fn host(raw: Raw<'_>) -> Result<Host, Refusal> {
    match raw {
        Raw::Ip(ip) => Ok(Host::Ip(ip)),
        Raw::Name(name) => {
            let name = std::str::from_utf8(name).map_err(|_| invalid("the host name is not text"))?;
            target::parse_host(name)
        }
    }
}

/// The first byte, if it is there, must be this version.
fn version(buf: &[u8], version: u8, detail: &str) -> Result<(), Refusal> {
    match buf.first() {
        Some(b) if *b != version => Err(invalid(detail)),
        _ => Ok(()),
    }
}

/// A length of one byte, and so many bytes; and the rest.
fn counted(buf: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = buf.split_first()?;
    rest.split_at_checked(usize::from(*length))
}
