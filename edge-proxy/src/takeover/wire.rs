//! Messages between the two processes: JSON in one datagram of a `SOCK_SEQPACKET` socket, with
//! descriptors beside it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, recvmsg, sendmsg, socket_with,
};
use serde::{Deserialize, Serialize};

use super::{CHUNK, ListenerName, other};

/// Longest message: [`CHUNK`] names fit several times.
const MAX_MESSAGE: usize = 64 << 10;

/// What the processes say to each other.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "say")]
pub(super) enum Say {
    /// New to old, first.
    Hello { version: u32, edge: String },
    /// Old to new: descriptors in the order of the names.
    Listeners { names: Vec<ListenerName>, last: bool },
    /// Old to new: no.
    Refused { why: String },
    /// New to old: it accepts.
    Serving,
    /// Old to new: it no longer accepts.
    Draining,
}

#[derive(Debug)]
pub(super) struct Wire(OwnedFd);

pub(super) fn socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

pub(super) fn address(path: &Path) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(path)?)
}

impl Wire {
    /// A connected socket, if the process at its other end runs as the same user.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let peer = sockopt::socket_peercred(&fd)?;
        if peer.uid != rustix::process::geteuid() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the other process runs as another user"));
        }
        Ok(Self(fd))
    }

    /// The process at the other end.
    pub fn peer(&self) -> Option<u32> {
        let peer = sockopt::socket_peercred(&self.0).ok()?;
        u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
    }

    /// How long one call may wait.
    pub fn patience(&self, time: Duration) -> io::Result<()> {
        sockopt::set_socket_timeout(&self.0, Timeout::Recv, Some(time))?;
        Ok(sockopt::set_socket_timeout(&self.0, Timeout::Send, Some(time))?)
    }

    pub fn send(&self, say: &Say, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(say)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(CHUNK))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(other("too many descriptors for one message"));
        }
        rustix::io::retry_on_intr(|| sendmsg(&self.0, &[IoSlice::new(&text)], &mut beside, SendFlags::NOSIGNAL))?;
        Ok(())
    }

    /// The next message. `UnexpectedEof` if the other process is gone.
    pub fn receive(&self) -> io::Result<(Say, Vec<OwnedFd>)> {
        let mut text = vec![0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(CHUNK))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let got = rustix::io::retry_on_intr(|| {
            recvmsg(&self.0, &mut [IoSliceMut::new(&mut text)], &mut beside, RecvFlags::CMSG_CLOEXEC)
        })?;
        let mut fds = Vec::new();
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if got.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(other("a message was cut off: descriptors may be short"));
        }
        Ok((serde_json::from_slice(&text[..got.bytes])?, fds))
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
