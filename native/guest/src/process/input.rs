//! Stdin: bytes are counted, so that a repeated SendInput writes nothing twice.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Mutex, watch};
use tonic::Status;

use super::output::over;
use crate::status::{from_errno, invalid};

pub const CHUNK_BYTES: usize = 64 * 1024;
/// What a terminal takes for the end of its input.
const END_OF_TRANSMISSION: &[u8] = b"\x04";

const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Where input goes.
pub enum Sink {
    Closed,
    Pipe(AsyncFd<OwnedFd>),
    /// The terminal's master, which output comes from as well.
    Terminal(Arc<AsyncFd<OwnedFd>>),
}

pub struct Input {
    // Held over a write: two clients' bytes are not mixed within one call.
    sink: Mutex<Sink>,
    taken: AtomicU64,
}

impl Input {
    pub fn new(sink: Sink) -> Self {
        Input { sink: Mutex::new(sink), taken: AtomicU64::new(0) }
    }

    /// Writes what of `data` is new and returns the total. FAILED_PRECONDITION: closed, or the process ended.
    /// INVALID_ARGUMENT: bytes before `offset` were never sent.
    pub async fn send(&self, offset: u64, data: &[u8], ended: watch::Receiver<bool>) -> Result<u64, Status> {
        if data.len() > CHUNK_BYTES {
            return Err(invalid("input is sent in chunks of at most 64 KiB"));
        }
        let sink = self.sink.lock().await;
        let taken = self.taken.load(Ordering::Relaxed);
        let Some(known) = taken.checked_sub(offset) else {
            return Err(invalid(format!("the input has a gap: {taken} bytes were sent so far")));
        };
        let mut rest = data.get(known as usize..).unwrap_or_default();
        while !rest.is_empty() {
            let fd = match &*sink {
                Sink::Closed => return Err(closed()),
                Sink::Pipe(fd) => fd,
                Sink::Terminal(fd) => fd,
            };
            let written = write_some(fd, rest, ended.clone()).await?;
            rest = &rest[written..];
            // Counted at once: a caller whose deadline ends here may send the same again.
            self.taken.fetch_add(written as u64, Ordering::Relaxed);
        }
        Ok(self.taken.load(Ordering::Relaxed))
    }

    /// Ends the input. A terminal has no end of its own: it gets ^D, which a reader of lines takes for one.
    pub async fn close(&self, ended: watch::Receiver<bool>) -> Result<(), Status> {
        let mut sink = self.sink.lock().await;
        match &*sink {
            Sink::Terminal(fd) => write_some(fd, END_OF_TRANSMISSION, ended).await.map(drop),
            _ => {
                *sink = Sink::Closed;
                Ok(())
            }
        }
    }
}

async fn write_some(fd: &AsyncFd<OwnedFd>, data: &[u8], mut ended: watch::Receiver<bool>) -> Result<usize, Status> {
    loop {
        let is_over = *ended.borrow();
        if is_over {
            return Err(Status::failed_precondition("the process has ended"));
        }
        match rustix::io::write(fd.get_ref(), data) {
            Err(Errno::AGAIN) => {}
            Err(Errno::INTR) => continue,
            Err(Errno::PIPE | Errno::IO) => return Err(closed()),
            result => return result.map_err(|errno| from_errno(errno, "write to stdin")),
        }
        tokio::select! {
            guard = fd.writable() => {
                let hung_up = guard.map(|mut guard| {
                    let closed = guard.ready().is_write_closed();
                    guard.clear_ready();
                    closed
                });
                // A terminal without a holder takes nothing, and says that it is ready.
                if hung_up.unwrap_or(true) {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            }
            () = over(&mut ended) => {}
        }
    }
}

fn closed() -> Status {
    Status::failed_precondition("the process's stdin is closed")
}
