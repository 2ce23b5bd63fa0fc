//! The agent's own limits, set before it has children (which inherit them unless `process::child` resets them).

use std::fs;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, setrlimit, umask};

const OPEN_FILES: u64 = 65536;

/// Nothing here is worth a failed boot: an agent without it works, it is only easier to disturb.
pub fn for_agent() {
    // The kernel must never choose PID 1 when memory runs out: its death is the machine's.
    let _ = fs::write("/proc/self/oom_score_adj", "-1000");
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(OPEN_FILES), maximum: Some(OPEN_FILES) });
    umask(Mode::from_raw_mode(0o022));
}
