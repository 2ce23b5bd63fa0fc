//! Hold: every program of the user's stands still, so that the machine can be copied while it does.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tonic::Status;

use super::cgroup::USER;
use crate::status::from_io;

/// A program in the middle of a system call that can't be interrupted is waited for this long.
const STILL_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

static HELD: AtomicBool = AtomicBool::new(false);

/// Freezes the group of all user code. DEADLINE_EXCEEDED: a program does not stand still; nothing is held then.
pub async fn hold() -> Result<(), Status> {
    HELD.store(true, Ordering::SeqCst);
    if let Err(error) = freeze(true) {
        let _ = release();
        return Err(from_io(&error, "hold the programs"));
    }
    let start = Instant::now();
    while !stands_still() {
        if start.elapsed() > STILL_WITHIN {
            let _ = release();
            return Err(Status::deadline_exceeded("a program does not stand still"));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// Lets all go on; without a hold nothing happens.
pub fn release() -> Result<(), Status> {
    if !HELD.load(Ordering::SeqCst) {
        return Ok(());
    }
    freeze(false).map_err(|error| from_io(&error, "let the programs go on"))?;
    HELD.store(false, Ordering::SeqCst);
    Ok(())
}

/// UNAVAILABLE during a hold: a new program would wait in the frozen group, and its starter with it.
pub fn refuse_start() -> Result<(), Status> {
    if HELD.load(Ordering::SeqCst) {
        return Err(Status::unavailable("the machine is held; try again when it goes on"));
    }
    Ok(())
}

fn freeze(on: bool) -> io::Result<()> {
    fs::write(format!("{USER}/cgroup.freeze"), if on { "1" } else { "0" })
}

/// `frozen 1` in cgroup.events (cgroup-v2.rst): every process of the group and below it has stopped.
fn stands_still() -> bool {
    fs::read_to_string(format!("{USER}/cgroup.events")).is_ok_and(|text| text.lines().any(|line| line == "frozen 1"))
}
