//! What an edge may say, whoever asked for what.

use super::gateway::{NUMBER, is_token, lines};
use super::{ensure, find};

/// What comes of one connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Numbers of the gateway's answers, in order.
    pub numbers: Vec<u64>,
    /// Whether it ended as a tunnel.
    pub tunnel: bool,
}

/// Reads all that an edge said over a connection, to the last byte.
///
/// # Errors
/// What of it is no answer.
pub fn heard(said: &[u8]) -> Result<Heard, String> {
    match said.first() {
        None => Ok(Heard::default()),
        Some(b'H') => http(said),
        Some(5) => socks5(said).map(|tunnel| Heard { tunnel, ..Heard::default() }),
        Some(0) => {
            ensure(said == [0, 0x5B, 0, 0, 0, 0, 0, 0], || "not the refusal of SOCKS4".to_owned())?;
            Ok(Heard::default())
        }
        Some(0x14..=0x17) => tls(said).map(|()| Heard::default()),
        Some(other) => Err(format!("nothing begins with {other:#04x}")),
    }
}

/// Answers, one after the other; a tunnel of which nothing comes may follow the last one.
fn http(said: &[u8]) -> Result<Heard, String> {
    let (mut rest, mut found) = (said, Heard::default());
    while !rest.is_empty() {
        let end = find(rest, b"\r\n\r\n").ok_or("half an answer")?;
        let lines = lines(&rest[..end + 2])?;
        rest = &rest[end + 4..];
        let [first, headers @ ..] = lines.as_slice() else { return Err("an answer of no lines".to_owned()) };
        let status = status(first)?;
        let (mut length, mut number, mut code) = (None, None, false);
        for line in headers {
            let colon = line.iter().position(|b| *b == b':').ok_or("a header without a colon")?;
            ensure(is_token(&line[..colon]), || "a header without a name".to_owned())?;
            let name = line[..colon].to_ascii_lowercase();
            let value = std::str::from_utf8(line[colon + 1..].trim_ascii()).map_err(|e| e.to_string())?;
            let figure = || value.parse::<u64>().map_err(|e| format!("{value}: {e}"));
            match name.as_slice() {
                b"content-length" => ensure(length.replace(figure()?).is_none(), || "two lengths".to_owned())?,
                n if n == NUMBER.as_bytes() => number = Some(figure()?),
                b"x-tollgate-error" => code = true,
                _ => {}
            }
        }
        ensure(code == (status >= 400), || format!("{status}, which is a refusal: {code}"))?;
        found.numbers.extend(number);
        let Some(length) = length else {
            // Established: the gateway says nothing in a tunnel.
            ensure(status == 200 && headers.is_empty() && rest.is_empty(), || "an answer without a length".to_owned())?;
            found.tunnel = true;
            return Ok(found);
        };
        // The answer to HEAD has its length alone.
        if !rest.is_empty() && !rest.starts_with(b"HTTP/1.1 ") {
            let length = usize::try_from(length).map_err(|e| e.to_string())?;
            rest = rest.get(length..).ok_or("half a body")?;
        }
    }
    Ok(found)
}

/// `HTTP/1.1 NNN words`, of a final answer.
fn status(line: &[u8]) -> Result<u16, String> {
    let wrong = || format!("status line: {}", line.escape_ascii());
    let rest = line.strip_prefix(b"HTTP/1.1 ").ok_or_else(wrong)?;
    let (digits, words) = rest.split_at_checked(3).ok_or_else(wrong)?;
    let status = std::str::from_utf8(digits).ok().and_then(|d| d.parse::<u16>().ok()).ok_or_else(wrong)?;
    ensure((200..600).contains(&status) && words.starts_with(b" "), wrong)?;
    Ok(status)
}

/// Whether a handshake ended in a tunnel.
fn socks5(said: &[u8]) -> Result<bool, String> {
    let wrong = || format!("no handshake: {said:02x?}");
    let reply = match said {
        [5, 0xFF] | [5, 2] | [5, 2, 1, 0 | 1] => return Ok(false),
        [5, 2, 1, 0, reply @ ..] | [5, 0, reply @ ..] => reply,
        _ => return Err(wrong()),
    };
    match reply {
        [] => Ok(false),
        [5, code @ 0..=8, 0, 1, _, _, _, _, _, _] => Ok(*code == 0),
        _ => Err(wrong()),
    }
}

/// Records of a handshake that does not come to its end.
fn tls(said: &[u8]) -> Result<(), String> {
    let mut rest = said;
    while !rest.is_empty() {
        let [0x14..=0x17, 3, _, high, low, after @ ..] = rest else { return Err("no TLS record".to_owned()) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = after.get(length..).ok_or("half a TLS record")?;
    }
    Ok(())
}

#[test]
fn what_is_no_answer_is_told_from_what_is_one() {
    let number = |n: u64| format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Number: {n}\r\n\r\n");
    let refusal = "HTTP/1.1 407 No\r\nX-Tollgate-Error: AUTH_FAILED\r\nContent-Length: 2\r\n\r\n";
    let established = "HTTP/1.1 200 Connection established\r\n\r\n";
    let good = heard(format!("{}{refusal}{{}}{}{established}", number(3), number(4)).as_bytes());
    assert_eq!(good, Ok(Heard { numbers: vec![3, 4], tunnel: true }));
    assert_eq!(heard(refusal.as_bytes()), Ok(Heard::default()), "an answer to HEAD");
    assert_eq!(heard(&[5, 2, 1, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).map(|h| h.tunnel), Ok(true));
    assert_eq!(heard(&[5, 2, 1, 0, 5, 2, 0, 1, 0, 0, 0, 0, 0, 0]).map(|h| h.tunnel), Ok(false));
    for bad in [
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 400 No\r\n\r\n",
        "\x05\x02\x01\x02",
        "hello",
    ] {
        heard(bad.as_bytes()).unwrap_err();
    }
}
