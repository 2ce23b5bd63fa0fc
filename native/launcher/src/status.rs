//! The status file: one JSON line when the VMM starts, one when it has ended. A line counts when its line feed is
//! there. The lock on it is held as long as the launcher lives, so two can never run for one VM.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use crate::anchored::own_file;
use crate::failure::{At, Failure, Step};

pub struct StatusFile(File);

pub struct Started {
    pub tag: String,
    pub pid: i32,
    pub start_time: u64,
    pub launcher_pid: i32,
    pub launcher_start_time: u64,
}

impl Started {
    pub fn json(&self) -> Value {
        json!({
            "tag": self.tag,
            "pid": self.pid,
            "startTime": self.start_time,
            "launcherPid": self.launcher_pid,
            "launcherStartTime": self.launcher_start_time,
        })
    }
}

impl StatusFile {
    /// Takes the lock and empties the file.
    pub fn take(path: &Path) -> Result<StatusFile, Failure> {
        let file = own_file(path, Step::Status)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Failure::new(Step::Status, format!("{}: another launcher holds it", path.display())));
            }
            other => other.at(Step::Status, path.display())?,
        }
        file.set_len(0).at(Step::Status, path.display())?;
        Ok(StatusFile(file))
    }

    pub fn started(&mut self, started: &Started) -> Result<(), Failure> {
        self.line(&json!({ "started": started.json() }))
    }

    /// `exit` as waitpid(2) told it: `{code}` or `{signal}`.
    pub fn ended(&mut self, exit: Value, error: Option<&str>) -> Result<(), Failure> {
        self.line(&match error {
            None => json!({ "exit": exit }),
            Some(error) => json!({ "exit": exit, "error": error }),
        })
    }

    fn line(&mut self, value: &Value) -> Result<(), Failure> {
        self.0.write_all(format!("{value}\n").as_bytes()).at(Step::Status, "write")
    }
}
