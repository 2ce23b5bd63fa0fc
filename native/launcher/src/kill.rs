//! `kill` and `alive`: a process is meant only when its start time fits too, since pids are used again.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::time::Timespec;

use crate::failure::{At, Failure, Step};
use crate::identity::start_time;

const VMM_PATIENCE: Duration = Duration::from_secs(10);
/// The keeper writes how the VMM ended, then ends by itself.
const KEEPER_PATIENCE: Duration = Duration::from_secs(1);

/// SIGKILL, then waits for the end. Success also when it was gone already.
pub fn kill(options: &[&str]) -> Result<(), Failure> {
    let vmm = identity(options, "--pid", "--start-time")?
        .ok_or_else(|| Failure::new(Step::Usage, "--pid and --start-time are needed"))?;
    let keeper = identity(options, "--launcher-pid", "--launcher-start-time")?;
    if let Some(process) = open_process(vmm)? {
        send_kill(&process)?;
        if !await_end(&process, VMM_PATIENCE)? {
            return Err(Failure::new(Step::Kill, format!("process {} does not end", vmm.0)));
        }
    }
    let Some(process) = keeper.map(open_process).transpose()?.flatten() else {
        return Ok(());
    };
    if !await_end(&process, KEEPER_PATIENCE)? {
        send_kill(&process)?;
        await_end(&process, KEEPER_PATIENCE)?;
    }
    Ok(())
}

pub fn alive(options: &[&str]) -> Result<ExitCode, Failure> {
    let process = identity(options, "--pid", "--start-time")?
        .ok_or_else(|| Failure::new(Step::Usage, "--pid and --start-time are needed"))?;
    Ok(if open_process(process)?.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn identity(options: &[&str], pid: &str, start: &str) -> Result<Option<(i32, u64)>, Failure> {
    let known = ["--pid", "--start-time", "--launcher-pid", "--launcher-start-time"];
    let (pairs, rest) = options.as_chunks_of_two();
    if !rest.is_empty() || pairs.iter().any(|(name, _)| !known.contains(name)) {
        return Err(Failure::new(Step::Usage, "an option is not known or has no value"));
    }
    let value = |name: &str| pairs.iter().find(|(each, _)| *each == name).map(|(_, value)| *value);
    match (value(pid), value(start)) {
        (None, None) => Ok(None),
        (Some(a), Some(b)) => {
            let (a, b): (i32, u64) = (a.parse().at(Step::Usage, pid)?, b.parse().at(Step::Usage, start)?);
            if a < 2 {
                return Err(Failure::new(Step::Usage, format!("{pid} must be at least 2")));
            }
            Ok(Some((a, b)))
        }
        _ => Err(Failure::new(Step::Usage, format!("{pid} and {start} belong together"))),
    }
}

trait Pairs<'a> {
    fn as_chunks_of_two(&self) -> (Vec<(&'a str, &'a str)>, &[&'a str]);
}

impl<'a> Pairs<'a> for [&'a str] {
    fn as_chunks_of_two(&self) -> (Vec<(&'a str, &'a str)>, &[&'a str]) {
        let chunks = self.chunks_exact(2);
        let rest = chunks.remainder();
        (chunks.map(|pair| (pair[0], pair[1])).collect(), rest)
    }
}

/// None when it has ended. The start time is read after the descriptor is open: then the number can't change hands.
pub fn open_process((pid, start): (i32, u64)) -> Result<Option<OwnedFd>, Failure> {
    let number = Pid::from_raw(pid).ok_or_else(|| Failure::new(Step::Usage, "pid"))?;
    let process = match pidfd_open(number, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(error) => return Err(Failure::new(Step::Kill, format!("pidfd_open: {error}"))),
    };
    let proc = File::open("/proc").at(Step::Kill, "/proc")?;
    Ok((start_time(&proc, pid)? == Some(start)).then_some(process))
}

fn send_kill(process: &OwnedFd) -> Result<(), Failure> {
    match pidfd_send_signal(process, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(Failure::new(Step::Kill, format!("pidfd_send_signal: {error}"))),
    }
}

pub fn await_end(process: &OwnedFd, patience: Duration) -> Result<bool, Failure> {
    let mut polled = [PollFd::new(process, PollFlags::IN)];
    let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: 0 };
    Ok(poll(&mut polled, Some(&timeout)).at(Step::Kill, "poll")? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_only_who_is_meant() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let pid = child.id().to_string();
        let proc = File::open("/proc").expect("/proc");
        let start = start_time(&proc, child.id() as i32).expect("stat").expect("alive");
        let wrong = (start + 1).to_string();
        kill(&["--pid", &pid, "--start-time", &wrong]).expect("a stranger counts as gone");
        assert!(child.try_wait().expect("wait").is_none());
        kill(&["--pid", &pid, "--start-time", &start.to_string()]).expect("kill");
        assert!(child.wait().expect("wait").code().is_none());
        kill(&["--pid", &pid, "--start-time", &start.to_string()]).expect("gone already");
    }

    #[test]
    fn refuses_half_an_identity() {
        assert_eq!(kill(&["--pid", "4"]).expect_err("half").step, Step::Usage);
        assert_eq!(kill(&["--pid", "0", "--start-time", "1"]).expect_err("0 is everybody").step, Step::Usage);
        assert_eq!(kill(&["--pid"]).expect_err("no value").step, Step::Usage);
    }
}
