//! What can go wrong, by step: each has a name in the report and an exit code of its own.

use std::fmt;
use std::process::ExitCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    Usage = 2,
    /// The process to kill is still there.
    Kill = 3,
    Document = 10,
    Daemonize = 11,
    Status = 12,
    Sockets = 13,
    Console = 14,
    StderrLog = 15,
    Cgroup = 16,
    Netns = 17,
    Cpuset = 18,
    Namespaces = 19,
    Jail = 20,
    Fork = 21,
    Limits = 22,
    Privileges = 23,
    Exec = 24,
    Relays = 25,
    Fifos = 26,
    Inputs = 27,
    Volume = 28,
}

impl Step {
    pub fn name(self) -> &'static str {
        match self {
            Step::Usage => "usage",
            Step::Kill => "kill",
            Step::Document => "document",
            Step::Daemonize => "daemonize",
            Step::Status => "status",
            Step::Sockets => "sockets",
            Step::Console => "console",
            Step::StderrLog => "stderr-log",
            Step::Cgroup => "cgroup",
            Step::Netns => "netns",
            Step::Cpuset => "cpuset",
            Step::Namespaces => "namespaces",
            Step::Jail => "jail",
            Step::Fork => "fork",
            Step::Limits => "limits",
            Step::Privileges => "privileges",
            Step::Exec => "exec",
            Step::Relays => "relays",
            Step::Fifos => "fifos",
            Step::Inputs => "inputs",
            Step::Volume => "volume",
        }
    }

    /// The steps that a child reports by their number.
    pub fn from_code(code: u8) -> Step {
        match code {
            22 => Step::Limits,
            23 => Step::Privileges,
            24 => Step::Exec,
            _ => Step::Fork,
        }
    }
}

#[derive(Debug)]
pub struct Failure {
    pub step: Step,
    pub error: String,
}

impl Failure {
    pub fn new(step: Step, error: impl Into<String>) -> Self {
        Failure { step, error: error.into() }
    }

    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.step as u8)
    }

    /// How a command tells of it on standard error.
    pub fn line(&self) -> String {
        format!("exai-launcher: {self}\n")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.step.name(), self.error)
    }
}

/// Says at which step and on what an operation failed.
pub trait At<T> {
    fn at(self, step: Step, what: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> At<T> for Result<T, E> {
    fn at(self, step: Step, what: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(step, format!("{what}: {error}")))
    }
}
