//! One absolute-form request and its response. Each gets a connection to the origin of its own;
//! the client's may serve many.

use std::io;
use std::net::Ipv4Addr;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::Next;
use super::framing::Framing;
use super::head::{HeadError, RequestHead, ResponseHead, read_head};
use super::refusal;
use super::relay::{self, Count};

/// `head_len` is the head's length as received; `rest` what followed it, and then what follows
/// the request.
pub(super) async fn forward(
    client: &mut TcpStream,
    upstream: &mut TcpStream,
    request: &RequestHead,
    head_len: usize,
    rest: &mut Vec<u8>,
    exit: Ipv4Addr,
    count: Count<'_>,
) -> io::Result<Next> {
    count.up(head_len);
    let (mut from_client, mut to_client) = client.split();
    let (mut from_origin, mut to_origin) = upstream.split();
    let mut framing = request.framing();
    let up = async {
        let mut alive = to_origin.write_all(&request.for_origin()).await.is_ok();
        while let Some(n) = relay::next_piece(&mut from_client, rest, &mut framing).await? {
            count.up(n);
            // An origin that answers early need not read on; the client's bytes are still its request.
            alive = alive && to_origin.write_all(&rest[..n]).await.is_ok();
            rest.drain(..n);
        }
        io::Result::Ok(())
    };
    let down = async {
        let mut buffer = Vec::new();
        loop {
            let head = match read_head(&mut from_origin, &mut buffer).await {
                Ok(Some(head)) => head,
                Ok(None) | Err(HeadError::Io(_) | HeadError::TooLarge) => return Ok(None),
            };
            let Some(response) = ResponseHead::parse(&head, request) else { return Ok(None) };
            let mut framing = response.framing();
            let keep_alive = request.wants_keep_alive() && framing != Framing::UntilClose;
            count.send(&mut to_client, &response.for_client(exit, keep_alive)).await?;
            if response.is_interim() {
                continue;
            }
            while let Some(n) = relay::next_piece(&mut from_origin, &mut buffer, &mut framing).await? {
                count.send(&mut to_client, &buffer[..n]).await?;
                buffer.drain(..n);
            }
            return io::Result::Ok(Some(keep_alive));
        }
    };
    tokio::pin!(up, down);
    let mut up_done = false;
    let answered = loop {
        tokio::select! {
            sent = &mut up, if !up_done => {
                sent?;
                up_done = true;
            }
            answered = &mut down => break answered?,
        }
    };
    Ok(match answered {
        None => Next::Refuse(refusal::TARGET_REFUSED),
        Some(true) if up_done => Next::KeepAlive,
        Some(_) => Next::Close,
    })
}
