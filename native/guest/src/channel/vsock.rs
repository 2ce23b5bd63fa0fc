//! vsock: the guest dials the host, and dials again whenever the connection is gone (a restored snapshot
//! resets every connection).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

use super::Connection;
use crate::descriptor::{register, register_for};

const HOST_CID: u32 = 2;
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// A connect that the host does not answer is given up: it may have been restored meanwhile.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

pub async fn run(port: u32, sender: mpsc::Sender<io::Result<Connection>>) {
    let mut wait = FIRST_WAIT;
    loop {
        if let Ok(Ok(fd)) = tokio::time::timeout(CONNECT_WITHIN, dial(port)).await {
            wait = FIRST_WAIT;
            let (alive, ended) = oneshot::channel();
            let socket = fd.get_ref().clone();
            if sender.send(Ok(Connection::of_socket(fd, alive))).await.is_err() {
                return;
            }
            ended_or_reset(&socket, ended).await;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// A restored snapshot resets a socket without ending it: the kernel reports an error and nothing to read, so that who
/// waits for bytes is not woken. To shut it down wakes them.
async fn ended_or_reset(socket: &OwnedFd, mut ended: oneshot::Receiver<()>) {
    let reset = async {
        let twin = register_for(rustix::io::fcntl_dupfd_cloexec(socket, 3)?, Interest::ERROR)?;
        twin.ready(Interest::ERROR).await.map(drop)
    };
    tokio::select! {
        _ = &mut ended => return,
        seen = reset => if seen.is_ok() {
            let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
        },
    }
    let _ = ended.await;
}

async fn dial(port: u32) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket takes no pointer; the result is checked before it is owned.
    let raw = unsafe { libc::socket(libc::AF_VSOCK, kind, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: raw is a fresh descriptor that nobody else owns.
    let fd = register(Arc::new(unsafe { OwnedFd::from_raw_fd(raw) }))?;
    // SAFETY: an all-zero sockaddr_vm is valid.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = libc::AF_VSOCK as libc::sa_family_t;
    address.svm_cid = HOST_CID;
    address.svm_port = port;
    let size = size_of::<libc::sockaddr_vm>() as libc::socklen_t;
    // SAFETY: address lives over the call and size is its size.
    let result = unsafe { libc::connect(fd.as_raw_fd(), (&raw const address).cast(), size) };
    if result == 0 {
        return Ok(fd);
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() != Some(libc::EINPROGRESS) {
        return Err(error);
    }
    let _ = fd.writable().await?;
    match rustix::net::sockopt::socket_error(&fd)? {
        Ok(()) => Ok(fd),
        Err(errno) => Err(errno.into()),
    }
}
