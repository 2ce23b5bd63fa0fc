//! Ends every process of a uid of the stack. A service that was broken into may have left processes behind that its
//! supervisor does not know; who gets the uid next, or starts the service again, would meet them.

use std::fs::File;
use std::io::Read;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::failure::{At, Failure, Step};
use crate::privileges;

const PATIENCE: Duration = Duration::from_secs(10);
const MOST: u32 = 1000;

/// `reap --first U --count N`
pub fn reap(words: &[&str]) -> Result<ExitCode, Failure> {
    let usage =
        || Failure::new(Step::Usage, "usage: exai-launcher reap --first U --count N (at most 1000, none of them root)");
    let ["--first", first, "--count", count] = words else { return Err(usage()) };
    let (first, count): (u32, u32) = (first.parse().map_err(|_| usage())?, count.parse().map_err(|_| usage())?);
    let end = first.checked_add(count).ok_or_else(usage)?;
    if first == 0 || count == 0 || count > MOST {
        return Err(usage());
    }
    end_all(first, end)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns when no process of the uids from `first` to before `end` runs any more.
pub fn end_all(first: u32, end: u32) -> Result<(), Failure> {
    for uid in first..end {
        kill_all(uid)?;
    }
    // They are doomed, but one may be on a processor, or deep in the kernel, for a moment yet.
    let start = Instant::now();
    while let Some(pid) = find(first, end)? {
        if start.elapsed() > PATIENCE {
            return Err(Failure::new(Step::Kill, format!("process {pid} does not end")));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// kill(2) of -1 by a child with this uid and no rights but that uid's: the kernel does it in one go, so none can escape
/// by forking, and it can't hit anybody else's. A process of that uid may be quick enough to kill the child first.
fn kill_all(uid: u32) -> Result<(), Failure> {
    for _ in 0..100 {
        if kill_once(uid)? {
            return Ok(());
        }
    }
    Err(Failure::new(Step::Kill, format!("processes of uid {uid} can't be ended")))
}

fn kill_once(uid: u32) -> Result<bool, Failure> {
    // SAFETY: this process has one thread.
    let child = match unsafe { libc::fork() } {
        -1 => return Err(Failure::new(Step::Kill, std::io::Error::last_os_error().to_string())),
        0 => {
            // As root this would end the whole machine: `drop_to` checks that nothing is left.
            let dropped = privileges::drop_to(uid, uid, &[]).is_ok();
            if dropped {
                // SAFETY: a plain system call; that there was nobody to kill is fine.
                unsafe { libc::kill(-1, libc::SIGKILL) };
            }
            // SAFETY: ends the child without what the parent has registered for its own end.
            unsafe { libc::_exit(i32::from(!dropped)) }
        }
        child => child,
    };
    let mut raw = 0;
    // SAFETY: a valid pointer; the child is ours.
    while unsafe { libc::waitpid(child, &mut raw, 0) } == -1 {
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(Failure::new(Step::Kill, error.to_string()));
        }
    }
    if libc::WIFEXITED(raw) && libc::WEXITSTATUS(raw) != 0 {
        return Err(Failure::new(Step::Privileges, format!("can't become uid {uid}")));
    }
    Ok(libc::WIFEXITED(raw))
}

/// A process with one of the uids that is not merely waiting to be collected.
fn find(first: u32, end: u32) -> Result<Option<i32>, Failure> {
    for entry in std::fs::read_dir("/proc").at(Step::Kill, "/proc")? {
        let Some(pid) = entry.at(Step::Kill, "/proc")?.file_name().to_str().and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let mut text = Vec::new();
        // It may end while it is looked at.
        if File::open(format!("/proc/{pid}/status")).and_then(|mut file| file.read_to_end(&mut text)).is_err() {
            continue;
        }
        if runs_as(&String::from_utf8_lossy(&text), first, end) {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}

fn runs_as(status: &str, first: u32, end: u32) -> bool {
    // A name has no line break here (proc(5) escapes it), so a line's start is what it seems.
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let dead = ["Z", "X"].contains(&field("State:").split_ascii_whitespace().next().unwrap_or_default());
    let mut uids = field("Uid:").split_ascii_whitespace().filter_map(|word| word.parse::<u32>().ok());
    !dead && uids.any(|uid| (first..end).contains(&uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_uids_of_the_living() {
        let status = "Name:\tUid:\\n1\nState:\tS (sleeping)\nUid:\t7\t8\t9\t9\n";
        assert!(runs_as(status, 7, 8) && runs_as(status, 9, 10));
        assert!(!runs_as(status, 1, 7) && !runs_as(status, 10, 20));
        assert!(!runs_as(&status.replace("S (s", "Z (z"), 7, 10));
    }

    #[test]
    fn refuses_root_and_more_than_a_stack_has() {
        for words in [["--first", "0", "--count", "1"], ["--first", "4294967295", "--count", "1"]] {
            assert_eq!(reap(&words).expect_err("root or -1").step, Step::Usage);
        }
        assert_eq!(reap(&["--first", "1000", "--count", "1001"]).expect_err("too many").step, Step::Usage);
        assert_eq!(reap(&["--first", "1000"]).expect_err("half").step, Step::Usage);
    }
}
