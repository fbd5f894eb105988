//! `/ws`: a WebSocket (RFC 6455) that sends every frame back.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use sha1_smol::Sha1;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{Body, full};

/// What the handshake hashes after the client's key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Largest frame that comes back.
const MAX_FRAME: usize = 16 << 20;

/// A whole frame.
const FIN: u8 = 0x80;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const PROTOCOL_ERROR: u16 = 1002;
const TOO_BIG: u16 = 1009;

/// The answer that turns the connection into a WebSocket; none if the request asks for no such thing.
pub(super) fn accept<B>(request: &Request<B>) -> Option<Response<Body>> {
    let version = request.headers().get(header::SEC_WEBSOCKET_VERSION)?;
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY)?;
    let asked = request.method() == Method::GET
        && says(request, header::CONNECTION, "upgrade")
        && says(request, header::UPGRADE, "websocket")
        && version.as_bytes() == b"13";
    if !asked {
        return None;
    }
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&proof(key.as_bytes())).ok()?);
    Some(response)
}

fn says<B>(request: &Request<B>, name: HeaderName, token: &str) -> bool {
    let mut values = request.headers().get_all(name).iter().filter_map(|v| v.to_str().ok());
    values.any(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case(token)))
}

/// Shows the client that its key was read.
fn proof(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(GUID);
    STANDARD.encode(hash.digest().bytes())
}

struct Frame {
    /// FIN and the kind.
    first: u8,
    payload: Vec<u8>,
}

enum End {
    /// The connection is gone.
    Gone(io::Error),
    /// The frame breaks the rules: a close code.
    Refused(u16),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

/// Sends every frame back until one side closes.
pub(super) async fn echo<S>(mut stream: S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let frame = match read(&mut stream).await {
            Ok(frame) => frame,
            Err(End::Gone(error)) => return Err(error),
            Err(End::Refused(code)) => return close(&mut stream, &code.to_be_bytes()).await,
        };
        match frame.first & 0x0f {
            0..=2 => stream.write_all(&wire(frame.first, &frame.payload)).await?,
            PING => stream.write_all(&wire(FIN | PONG, &frame.payload)).await?,
            PONG => {}
            CLOSE => return close(&mut stream, &frame.payload).await,
            _ => return close(&mut stream, &PROTOCOL_ERROR.to_be_bytes()).await,
        }
        stream.flush().await?;
    }
}

async fn close<S: AsyncWrite + Unpin>(stream: &mut S, payload: &[u8]) -> io::Result<()> {
    stream.write_all(&wire(FIN | CLOSE, payload)).await?;
    stream.shutdown().await
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Frame, End> {
    let [first, second] = array::<2, S>(stream).await?;
    // A client's frames are masked; no extension was agreed on.
    if second & 0x80 == 0 || first & 0x70 != 0 {
        return Err(End::Refused(PROTOCOL_ERROR));
    }
    let len = match second & 0x7f {
        126 => u64::from(u16::from_be_bytes(array::<2, S>(stream).await?)),
        127 => u64::from_be_bytes(array::<8, S>(stream).await?),
        n => u64::from(n),
    };
    let len = usize::try_from(len).ok().filter(|n| *n <= MAX_FRAME).ok_or(End::Refused(TOO_BIG))?;
    let mask = array::<4, S>(stream).await?;
    let mut payload = vec![0; len];
    stream.read_exact(&mut payload).await?;
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= *key;
    }
    Ok(Frame { first, payload })
}

async fn array<const N: usize, S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// A server's frame: not masked.
fn wire(first: u8, payload: &[u8]) -> Vec<u8> {
    let len = payload.len();
    let mut out = vec![first];
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(n @ 0..=125), _) => out.push(n),
        (_, Ok(n)) => {
            out.push(126);
            out.extend(n.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_is_that_of_the_standard() {
        assert_eq!(proof(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        assert_eq!(wire(0x82, &[7; 125])[..3], [0x82, 125, 7]);
        assert_eq!(wire(0x82, &[7; 126])[..5], [0x82, 126, 0, 126, 7]);
        assert_eq!(wire(0x82, &vec![7; 65_536])[..11], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0, 7]);
    }
}
