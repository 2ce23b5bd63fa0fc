//! Descriptors in the runtime's poller.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use tokio::io::unix::AsyncFd;

/// Who keeps a descriptor open and never exchanges it.
pub trait Owner: AsRawFd {}
impl Owner for OwnedFd {}
impl Owner for Arc<OwnedFd> {}

/// Registers a non-blocking descriptor.
pub fn register<T: Owner>(owner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: an `Owner` keeps its descriptor open as long as it lives, which is as long as the result does.
    unsafe { AsyncFd::register(owner) }.map_err(io::Error::from)
}

/// Makes a descriptor non-blocking and registers it.
pub fn non_blocking(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    register(fd)
}
