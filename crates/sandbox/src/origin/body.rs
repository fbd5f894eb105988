//! Bodies: exactly N bytes, made as they are sent; and one that was begun to be read.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// Bytes count 0…250 over and over: a prime period, so that a lost or doubled piece shows.
const PERIOD: u8 = 251;
const BLOCK: usize = PERIOD as usize * 256;

struct Pattern {
    block: Bytes,
    left: u64,
}

pub(super) fn pattern(n: u64) -> super::Body {
    let block = (0..PERIOD).cycle().take(BLOCK).collect();
    Pattern { block, left: n }.map_err(|never| match never {}).boxed()
}

impl Body for Pattern {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let n = usize::try_from(self.left).unwrap_or(BLOCK).min(BLOCK);
        self.left -= n as u64;
        Poll::Ready(Some(Ok(Frame::data(self.block.slice(..n)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

struct Resumed {
    first: Option<Bytes>,
    rest: Incoming,
    whole: Option<u64>,
}

/// The body whose `first` piece was read already; `whole` bytes, if that was promised.
pub(super) fn resumed(first: Option<Bytes>, rest: Incoming, whole: Option<u64>) -> super::Body {
    Resumed { first, rest, whole }.boxed()
}

impl Body for Resumed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.whole.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
