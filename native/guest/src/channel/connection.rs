//! One connection of the host as the byte stream that the HTTP/2 server wants.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::restart::Tracker;

/// Bytes of the next connection that were read as part of this one.
pub type Carry = Arc<Mutex<Vec<u8>>>;

/// A non-blocking descriptor. Its end is told to whoever holds the receiver of `alive`.
pub struct Connection {
    fd: AsyncFd<Arc<OwnedFd>>,
    /// Read before the descriptor.
    first: Vec<u8>,
    /// Only where the descriptor outlives the connection (virtio-serial).
    restart: Option<(Tracker, Carry)>,
    ended: bool,
    _alive: oneshot::Sender<()>,
}

impl Connection {
    /// A stream that ends with its descriptor.
    pub fn of_socket(fd: AsyncFd<Arc<OwnedFd>>, alive: oneshot::Sender<()>) -> Self {
        Connection { fd, first: Vec::new(), restart: None, ended: false, _alive: alive }
    }

    /// A stream on a port that goes on after it; `carry` holds its first bytes and gets those of the next.
    pub fn of_port(fd: AsyncFd<Arc<OwnedFd>>, carry: Carry, alive: oneshot::Sender<()>) -> Self {
        let first = std::mem::take(&mut *lock(&carry));
        Connection { fd, first, restart: Some((Tracker::new(), carry)), ended: false, _alive: alive }
    }

    fn read_some(&mut self, context: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.first.is_empty() {
            let n = self.first.len().min(into.len());
            into[..n].copy_from_slice(&self.first[..n]);
            self.first.drain(..n);
            return Poll::Ready(Ok(n));
        }
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(context))?;
            match rustix::io::read(self.fd.get_ref(), &mut *into) {
                // The host went away, even if another is there by now.
                Err(Errno::AGAIN) if guard.ready().is_read_closed() => return Poll::Ready(Ok(0)),
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(Errno::INTR) => {}
                result => return Poll::Ready(result.map_err(io::Error::from)),
            }
        }
    }

    /// How many of `bytes` belong to this connection; keeps the rest for the next one.
    fn own(&mut self, bytes: &[u8]) -> usize {
        let Some((tracker, carry)) = &mut self.restart else { return bytes.len() };
        let Some(cut) = tracker.feed(bytes) else { return bytes.len() };
        let mut next = lock(carry);
        next.extend_from_slice(&bytes[cut..]);
        next.append(&mut self.first);
        self.ended = true;
        cut
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ended || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let space = buf.initialize_unfilled();
        let read = ready!(this.read_some(context, space))?;
        this.ended = read == 0;
        let own = this.own(&space[..read]);
        buf.advance(own);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            if self.ended {
                // A port without a host is never writable again: waiting would keep the dead connection for ever.
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let mut guard = ready!(self.fd.poll_write_ready(context))?;
            match rustix::io::write(self.fd.get_ref(), bytes) {
                Err(Errno::AGAIN) if guard.ready().is_write_closed() => {
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(Errno::INTR) => {}
                result => return Poll::Ready(result.map_err(io::Error::from)),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl tonic::transport::server::Connected for Connection {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

pub fn lock(carry: &Carry) -> std::sync::MutexGuard<'_, Vec<u8>> {
    carry.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
