//! Descriptors in the runtime's poller.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Who keeps a descriptor open and never exchanges it.
pub trait Owner: AsRawFd {}
impl Owner for OwnedFd {}
impl Owner for Arc<OwnedFd> {}

/// Registers a non-blocking descriptor, to be read from and written to.
pub fn register<T: Owner>(owner: T) -> io::Result<AsyncFd<T>> {
    register_for(owner, Interest::READABLE | Interest::WRITABLE)
}

pub fn register_for<T: Owner>(owner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: an `Owner` keeps its descriptor open as long as it lives, which is as long as the result does.
    unsafe { AsyncFd::register_with_interest(owner, interest) }.map_err(io::Error::from)
}

/// Makes a descriptor non-blocking and registers it.
pub fn non_blocking(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    register(fd)
}
