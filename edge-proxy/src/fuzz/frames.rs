//! SOCKS frames and PROXY headers.

use secrecy::ExposeSecret;

use crate::ingress::proxy_protocol::{self, MAX_LENGTH, Parsed};
use crate::socks::server::Request;
use crate::socks::{MAX_FRAME, MAX_UDP_HEADER, Method, client, server, udp};

use super::{Verdict, ensure, fuzz, settled};

const SOCKS_WORDS: &[&[u8]] = &[
    b"\x05",
    b"\x05\x01\x00",
    b"\x05\x01\x02",
    b"\x05\x02\x00\x02",
    b"\x01\x04demo\x06secret",
    b"\x05\x01\x00\x01",
    b"\x05\x01\x00\x03",
    b"\x05\x01\x00\x04",
    b"\x05\x03\x00\x01\0\0\0\0\0\0",
    b"\x05\x02\x00\x01",
    b"\x00\x00\x00\x01",
    b"\x7F\x00\x00\x01",
    b"\x01\xBB",
    b"\x00\x50",
    b"\x06a.test",
    b"\x09localhost",
    b"0x7f.1",
    b"fe80::1%eth0",
    b"[::1]",
    b"\x05\xFF",
    b"\x05\x00\x00\x01",
    b"\x05\x05\x00\x01",
    b"\x04\x01",
    b"\0",
    b"\xFF",
];

#[test]
fn socks_frames() {
    fuzz("socks", SOCKS_WORDS, |bytes| {
        let mut accepted = settled("greeting", bytes, server::greeting)?.is_some();
        accepted |= credentials(bytes)?;
        accepted |= request(bytes)?;
        for method in [Method::None, Method::Password] {
            let read = |buf: &[u8]| client::chosen(buf, method).map(|n| n.map(|n| ((), n)));
            accepted |= settled("choice", bytes, read)?.is_some();
        }
        let status = |buf: &[u8]| client::auth_status(buf).map(|n| n.map(|n| ((), n)));
        accepted |= settled("status", bytes, status)?.is_some();
        accepted |= settled("answer", bytes, client::answer)?.is_some();
        accepted |= datagram(bytes)?;
        let waiting = server::greeting(bytes) == Ok(None)
            || matches!(server::credentials(bytes), Ok(None))
            || server::request(bytes) == Ok(None)
            || client::answer(bytes) == Ok(None);
        ensure(!waiting || bytes.len() < MAX_FRAME, || "more is waited for than a frame can have".to_owned())?;
        Ok(accepted)
    });
}

fn credentials(bytes: &[u8]) -> Verdict {
    let read = |buf: &[u8]| {
        let read = server::credentials(buf)?;
        Ok::<_, tollgate_domain::refusal::Refusal>(
            read.map(|(c, n)| ((c.user, c.password.expose_secret().to_owned()), n)),
        )
    };
    let Some((user, password)) = settled("credentials", bytes, read)? else { return Ok(false) };
    let written = client::credentials(&user, &password.into()).map_err(|e| e.to_string())?;
    ensure(bytes.starts_with(&written), || "credentials are written otherwise than read".to_owned())?;
    Ok(true)
}

fn request(bytes: &[u8]) -> Verdict {
    let Some(asked) = settled("request", bytes, server::request)? else { return Ok(false) };
    if let Request::Connect(target) = &asked {
        ensure(target.port != 0, || "port 0".to_owned())?;
        let written = client::request(client::Ask::Connect(target)).map_err(|e| e.to_string())?;
        let again = server::request(&written);
        ensure(again == Ok(Some((asked.clone(), written.len()))), || format!("{asked:?} is read back as {again:?}"))?;
    }
    Ok(true)
}

fn datagram(bytes: &[u8]) -> Verdict {
    let Ok((target, payload)) = udp::decode(bytes) else { return Ok(false) };
    ensure(bytes.ends_with(payload) && bytes.len() - payload.len() <= MAX_UDP_HEADER, || "another payload".to_owned())?;
    let mut out = Vec::new();
    udp::encode_header(&mut out, &target).ok_or("it cannot be written")?;
    out.extend_from_slice(payload);
    ensure(udp::decode(&out) == Ok((target, payload)), || "it is read back otherwise".to_owned())?;
    Ok(true)
}

const PROXY_WORDS: &[&[u8]] = &[
    b"\r\n",
    b"PROXY ",
    b"TCP4 ",
    b"TCP6 ",
    b"UNKNOWN",
    b"UNKNOWN\r\n",
    b" ",
    b"127.0.0.1 ",
    b"::1 ",
    b"::ffff:1.2.3.4 ",
    b"65535",
    b"65536",
    b"0",
    b"00",
    b"443\r\n",
    b"\r\n\r\n\0\r\nQUIT\n",
    b"\x21\x11\0\x0C",
    b"\x20\0\0\0",
    b"\x21\x21\0\x24",
    b"\x03\0\x04",
    b"\x04\0\0",
    b"\xEA\0\x04\x01abc",
    b"\xFF\xFF",
    b"GET / HTTP/1.1\r\n",
];

#[test]
fn proxy_headers() {
    fuzz("proxy_header", PROXY_WORDS, |bytes| {
        let read = |buf: &[u8]| {
            proxy_protocol::parse(buf).map(|parsed| match parsed {
                Parsed::Incomplete => None,
                Parsed::Complete { length, source } => Some((source, length)),
            })
        };
        let waiting = read(bytes) == Ok(None);
        ensure(!waiting || bytes.len() < MAX_LENGTH, || "more is waited for than a header can have".to_owned())?;
        let Some(source) = settled("header", bytes, read)? else { return Ok(false) };
        let Some(source) = source.filter(|_| bytes[0] == b'P') else { return Ok(true) };
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let line = format!("PROXY {family} {ip} {ip} {port} 1\r\n", ip = source.ip(), port = source.port());
        ensure(read(line.as_bytes()) == Ok(Some((Some(source), line.len()))), || format!("{line} is read otherwise"))?;
        Ok(true)
    });
}
