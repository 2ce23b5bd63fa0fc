//! The one place that waits for children. PID 1 inherits every orphan of the machine; a waiter of its own
//! per process would race with the reaping of orphans for exit codes.

use std::collections::HashMap;
use std::io;
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// How a child ended, as wait4(2) tells it.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    pub status: i32,
    pub cpu: Duration,
    pub max_rss_bytes: u64,
}

type Waiters = HashMap<i32, oneshot::Sender<Ended>>;

// One per process, because children belong to the process.
static WAITERS: LazyLock<Mutex<Waiters>> = LazyLock::new(Mutex::default);

/// Starts a child and registers it. The lock is held over both, so that a child that ends at once is not taken
/// for an orphan. `start` must not block: it is one clone3(2).
pub fn spawn(start: impl FnOnce() -> io::Result<i32>) -> io::Result<(i32, oneshot::Receiver<Ended>)> {
    let mut waiters = lock();
    let pid = start()?;
    let (sender, receiver) = oneshot::channel();
    waiters.insert(pid, sender);
    Ok((pid, receiver))
}

/// Reaps until the runtime ends.
pub async fn run() -> io::Result<()> {
    let mut children = signal(SignalKind::child())?;
    loop {
        reap_all();
        // Signals coalesce; one wake-up reaps whatever there is.
        if children.recv().await.is_none() {
            return Ok(());
        }
    }
}

fn reap_all() {
    loop {
        let mut waiters = lock();
        let Some((pid, ended)) = reap_one() else { return };
        if let Some(waiter) = waiters.remove(&pid) {
            // Nobody listens when the runtime that started it is gone.
            let _ = waiter.send(ended);
        }
    }
}

fn reap_one() -> Option<(i32, Ended)> {
    let mut status = 0;
    // SAFETY: an all-zero rusage is valid, and wait4 writes only to the two places given.
    let (pid, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(-1, &mut status, libc::WNOHANG | libc::__WALL, &mut usage), usage)
    };
    let cpu = duration(usage.ru_utime) + duration(usage.ru_stime);
    (pid > 0).then_some((pid, Ended { status, cpu, max_rss_bytes: usage.ru_maxrss as u64 * 1024 }))
}

fn duration(time: libc::timeval) -> Duration {
    Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000)
}

fn lock() -> MutexGuard<'static, Waiters> {
    WAITERS.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
