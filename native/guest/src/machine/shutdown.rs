//! The machine's orderly end.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::freeze::Writable;
use crate::boot::power;

/// So that the reply is on its way before anything else happens.
const REPLY_LEAVES: Duration = Duration::from_millis(20);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const KILLED_WITHIN: Duration = Duration::from_secs(2);

/// TERM, grace, KILL, sync, read-only, power off.
pub async fn run(writable: Arc<Writable>, grace: Duration, by_reboot: bool) {
    tokio::time::sleep(REPLY_LEAVES).await;
    signal_all(Signal::TERM);
    alone(grace).await;
    signal_all(Signal::KILL);
    alone(KILLED_WITHIN).await;
    let settled = tokio::task::spawn_blocking(move || writable.settle());
    // A disk that hangs must not keep the machine alive.
    let _ = tokio::time::timeout(Duration::from_secs(30), settled).await;
    power::off(by_reboot)
}

/// To every process but PID 1 and the kernel's.
fn signal_all(signal: Signal) {
    // SAFETY: kill takes no pointer. The agent is PID 1, which -1 leaves out; a test is not, and must not come here.
    if std::process::id() == 1 {
        unsafe { libc::kill(-1, signal.as_raw()) };
    }
}

async fn alone(within: Duration) {
    let start = Instant::now();
    while others() && start.elapsed() < within {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Whether a process with a program exists besides PID 1. Kernel threads and zombies have no command line.
fn others() -> bool {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.into_iter().any(|pid| pid != 1 && fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty()))
}
