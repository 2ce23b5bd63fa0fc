//! One output stream of a process: a pump reads it into the ring, clients read the ring. The pump stops while
//! the slowest client is a full ring behind, so the process blocks on its write as in front of a slow terminal.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, watch};

use super::ring::Ring;

pub const CHUNK_BYTES: usize = 64 * 1024;
/// A terminal's last bytes reach its master a moment after the leader's end.
const TERMINAL_SETTLES: Duration = Duration::from_millis(50);
/// Between two looks at a terminal that nobody holds.
const TERMINAL_REOPENS: Duration = Duration::from_millis(10);

thread_local! {
    // One for all pumps: nothing waits between a read and the copy into a ring.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK_BYTES]);
}

/// Shared by the pump and the clients.
pub struct Output {
    state: Mutex<State>,
    /// The pump may read again.
    room: Notify,
    /// Something changed for clients; shared by both streams of a process.
    news: Arc<watch::Sender<()>>,
    blocks_when_detached: bool,
}

struct State {
    ring: Ring,
    /// Where each client is.
    clients: HashMap<u64, u64>,
    /// The furthest byte that any client got.
    delivered: u64,
    /// The process has ended and all that it wrote is in the ring.
    done: bool,
}

impl Output {
    pub fn new(ring: Ring, news: Arc<watch::Sender<()>>, blocks_when_detached: bool) -> Self {
        let state = State { ring, clients: HashMap::new(), delivered: 0, done: false };
        Output { state: Mutex::new(state), room: Notify::new(), news, blocks_when_detached }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn end(&self) -> u64 {
        self.lock().ring.end()
    }

    /// A client that wants the bytes from `offset` on.
    pub fn enter(&self, client: u64, offset: u64) {
        self.lock().clients.insert(client, offset);
        self.room.notify_one();
    }

    pub fn leave(&self, client: u64) {
        self.lock().clients.remove(&client);
        self.room.notify_one();
    }

    /// The client's next bytes with their offset, if there are any; moves it past them.
    pub fn take(&self, client: u64) -> Option<(u64, Vec<u8>)> {
        let mut state = self.lock();
        let at = *state.clients.get(&client)?;
        let (from, data) = state.ring.read(at, CHUNK_BYTES);
        if data.is_empty() {
            return None;
        }
        let next = from + data.len() as u64;
        state.clients.insert(client, next);
        state.delivered = state.delivered.max(next);
        self.room.notify_one();
        Some((from, data))
    }

    /// Whether the client has everything that it will ever get.
    pub fn finished(&self, client: u64) -> bool {
        let state = self.lock();
        state.done && state.clients.get(&client).is_none_or(|at| *at >= state.ring.end())
    }

    /// Forgets the bytes; a descendant that still writes is read and ignored.
    pub fn discard(&self) {
        self.lock().ring.close();
        self.room.notify_one();
    }

    fn finish(&self) {
        self.lock().done = true;
        let _ = self.news.send(());
    }

    /// Bytes that the pump may read now.
    fn room_now(&self) -> usize {
        let state = self.lock();
        let needed_from = match state.clients.values().min() {
            Some(slowest) => *slowest,
            None if self.blocks_when_detached => state.delivered,
            None => return CHUNK_BYTES,
        };
        if state.ring.capacity() == 0 {
            return CHUNK_BYTES;
        }
        let behind = state.ring.end().saturating_sub(needed_from) as usize;
        state.ring.capacity().saturating_sub(behind).min(CHUNK_BYTES)
    }

    async fn room(&self) -> usize {
        loop {
            match self.room_now() {
                0 => self.room.notified().await,
                room => return room,
            }
        }
    }

    /// Reads until every writer is gone. `ended` turns true when the process has ended.
    pub async fn pump(self: Arc<Self>, fd: Arc<AsyncFd<OwnedFd>>, terminal: bool, mut ended: watch::Receiver<bool>) {
        loop {
            let room = self.room().await;
            match self.read(&fd, room) {
                Ok(0) => break,
                Ok(_) => {
                    let _ = self.news.send(());
                    // Let the clients' tasks run: a firehose must not starve them.
                    tokio::task::yield_now().await;
                }
                Err(Errno::AGAIN) => {
                    if is(&ended) {
                        self.finish();
                    }
                    wait(&fd, terminal, &mut ended).await;
                }
                Err(Errno::INTR) => {}
                // EIO: the terminal has no holder at present; a live process may open it again by name.
                Err(_) if terminal && !is(&ended) => tokio::time::sleep(TERMINAL_REOPENS).await,
                Err(_) => break,
            }
        }
        // The end of a stream says nothing about the process: it may have closed its stdout early.
        over(&mut ended).await;
        self.finish();
    }

    fn read(&self, fd: &AsyncFd<OwnedFd>, room: usize) -> Result<usize, Errno> {
        SCRATCH.with_borrow_mut(|scratch| {
            let read = rustix::io::read(fd.get_ref(), &mut scratch[..room])?;
            self.lock().ring.push(&scratch[..read]);
            Ok(read)
        })
    }
}

fn is(ended: &watch::Receiver<bool>) -> bool {
    *ended.borrow()
}

/// Waits for the process's end.
pub async fn over(ended: &mut watch::Receiver<bool>) {
    // An error means that the record is gone, and with it the process.
    let _ = ended.wait_for(|ended| *ended).await;
}

/// Until there may be something to read, or the process has ended.
async fn wait(fd: &AsyncFd<OwnedFd>, terminal: bool, ended: &mut watch::Receiver<bool>) {
    let is_over = is(ended);
    tokio::select! {
        guard = fd.readable() => {
            let hung_up = guard.map(|mut guard| {
                let closed = guard.ready().is_read_closed();
                guard.clear_ready();
                closed
            });
            // Once seen, a hang-up is reported for ever, even if the terminal was opened again since.
            if terminal && hung_up.unwrap_or(true) {
                tokio::time::sleep(TERMINAL_REOPENS).await;
            }
        }
        () = over(ended), if !is_over => {
            if terminal {
                tokio::time::sleep(TERMINAL_SETTLES).await;
            }
        }
    }
}
