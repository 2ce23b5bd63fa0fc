//! One process that was started, alive or ended.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tonic::Status;

use super::cgroup::Cgroup;
use super::input::Input;
use super::output::Output;
use crate::proto::lifetime::WhenDetached;
use crate::proto::{Exited, ProcessInfo};
use crate::reaper::Ended;
use crate::status::{from_errno, invalid};

/// Between TERM and KILL if the request names no other.
const GRACE: Duration = Duration::from_millis(5000);

pub struct Record {
    pub id: u64,
    pub pid: i32,
    pub argv: Vec<Bytes>,
    pub user: String,
    pub tag: String,
    pub stdout: Arc<Output>,
    /// None with a terminal.
    pub stderr: Option<Arc<Output>>,
    pub input: Input,
    pub terminal: Option<Arc<AsyncFd<OwnedFd>>>,
    pub cgroup: Mutex<Option<Cgroup>>,
    pub started: Instant,
    pub started_unix_ms: u64,
    pub grace: Option<Duration>,
    pub when_detached: WhenDetached,
    pub attached: AtomicU32,
    pub timed_out: AtomicBool,
    pub exited: OnceLock<Exited>,
    /// True from the moment when `exited` is set.
    pub ended: watch::Sender<bool>,
    /// A message detaches every client.
    pub detach: watch::Sender<()>,
    pub news: Arc<watch::Sender<()>>,
}

impl Record {
    /// Sends a signal to the leader or its group. FAILED_PRECONDITION: it has ended.
    pub fn signal(&self, number: u32, group: bool) -> Result<(), Status> {
        if !(1..=64).contains(&number) {
            return Err(invalid("a signal's number is 1 to 64"));
        }
        // Not reaped yet, as reaping and this run on one thread: the pid is still its own.
        if self.exited.get().is_some() {
            return Err(Status::failed_precondition("the process has ended"));
        }
        // SAFETY: a number in the range that the kernel takes; realtime signals are not reserved by this program.
        let signal = unsafe { Signal::from_raw_unchecked(number as i32) };
        let result = if group { self.signal_group(signal) } else { kill_process(self.raw_pid(), signal) };
        result.map_err(|errno| from_errno(errno, "send the signal"))
    }

    fn signal_group(&self, signal: Signal) -> rustix::io::Result<()> {
        if signal == Signal::KILL {
            self.kill_all();
        }
        // A shell in a terminal puts each job into a group of its own.
        let foreground = self.terminal.as_ref().and_then(|tty| rustix::termios::tcgetpgrp(tty.get_ref()).ok());
        if let Some(foreground) = foreground.filter(|group| *group != self.raw_pid()) {
            let _ = kill_process_group(foreground, signal);
        }
        kill_process_group(self.raw_pid(), signal)
    }

    fn raw_pid(&self) -> Pid {
        // Only a clone that succeeded makes a record, so the pid is positive.
        Pid::from_raw(self.pid).unwrap_or(Pid::INIT)
    }

    /// SIGKILL to all that is left of it.
    fn kill_all(&self) {
        if let Some(group) = self.lock_cgroup().as_ref() {
            group.kill();
        }
    }

    fn lock_cgroup(&self) -> std::sync::MutexGuard<'_, Option<Cgroup>> {
        self.cgroup.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// TERM, then KILL to the process and its descendants.
    pub async fn terminate(&self) {
        let _ = self.signal(Signal::TERM.as_raw() as u32, true);
        let mut ended = self.ended.subscribe();
        let _ = tokio::time::timeout(self.grace.unwrap_or(GRACE), ended.wait_for(|ended| *ended)).await;
        self.kill_all();
        let _ = self.signal(Signal::KILL.as_raw() as u32, true);
    }

    /// Records the end. Called once.
    pub async fn end(&self, ended: Option<Ended>) {
        let status = ended.map_or(0, |ended| ended.status);
        let exited = Exited {
            code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status) as u32),
            signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status) as u32),
            timed_out: self.timed_out.load(Ordering::Relaxed),
            started_unix_ms: self.started_unix_ms,
            wall_us: self.started.elapsed().as_micros() as u64,
            cpu_us: ended.map_or(0, |ended| ended.cpu.as_micros() as u64),
            max_rss_bytes: ended.map_or(0, |ended| ended.max_rss_bytes),
        };
        let _ = self.exited.set(exited);
        self.ended.send_replace(true);
        let _ = self.input.close(self.ended.subscribe()).await;
    }

    /// Lets go of its group, which stays while descendants live in it.
    pub fn release(&self) {
        self.lock_cgroup().take();
    }

    /// Makes room: nobody can ask for it any more.
    pub fn forget_output(&self) {
        self.stdout.discard();
        if let Some(stderr) = &self.stderr {
            stderr.discard();
        }
    }

    pub fn info(&self) -> ProcessInfo {
        ProcessInfo {
            process: self.id,
            pid: self.pid as u32,
            argv: self.argv.clone(),
            user: self.user.clone(),
            tag: self.tag.clone(),
            terminal: self.terminal.is_some(),
            attached: self.attached.load(Ordering::Relaxed),
            started_unix_ms: self.started_unix_ms,
            exited: self.exited.get().cloned(),
            stdout_bytes: self.stdout.end(),
            stderr_bytes: self.stderr.as_ref().map_or(0, |stderr| stderr.end()),
        }
    }
}
