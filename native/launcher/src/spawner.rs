//! `spawner`: starts programs for a process that is costly to fork. A fork copies the page tables of who forks, which for Node
//! is milliseconds of CPU time for each of the short programs that a VM's life needs; for this one it is nothing.
//!
//! A line of JSON on standard input is a program to run to its end, a line on standard output how it ended, in the order of
//! their ends. The end of standard input is the end of it, and so of a `run` that has not answered yet.
//!
//! This program's own short commands are no programs to it: a thread takes their system calls, and a VM's life needs three
//! processes fewer.

use std::fs::File;
use std::io::{BufRead, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, set_parent_process_death_signal};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::failure::{At, Failure, Step};
use crate::kill::{self, await_end};
use crate::netns;

/// Of standard output and error each; the rest is cut off.
const MAX_OUTPUT_BYTES: u64 = 64 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Request {
    id: u64,
    file: String,
    args: Vec<String>,
    input: String,
    timeout_ms: u64,
}

pub fn serve() -> Result<ExitCode, Failure> {
    for line in std::io::stdin().lock().lines() {
        let request: Request =
            serde_json::from_str(&line.at(Step::Usage, "standard input")?).at(Step::Usage, "request")?;
        let id = request.id;
        let answering = move || {
            // One write for a line: answers of two threads never mix. Nobody reads any more: the end comes on standard input.
            let line = format!("{}\n", answer(&request));
            let _ = std::io::stdout().lock().write_all(line.as_bytes());
        };
        // One program less, not the end of all that run.
        if let Err(error) = std::thread::Builder::new().stack_size(128 << 10).spawn(answering) {
            println!("{}", json!({ "id": id, "error": format!("no thread: {error}") }));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(request: &Request) -> Value {
    if let Some(outcome) = own(request) {
        let (code, stderr) =
            outcome.map_or_else(|failure| (failure.step as u8, failure.line()), |()| (0, String::new()));
        return json!({ "id": request.id, "code": code, "late": false, "stdout": "", "stderr": stderr });
    }
    match run(request) {
        Ok(Ended { status, late, stdout, stderr }) => {
            json!({ "id": request.id, "code": status.code(), "late": late, "stdout": stdout, "stderr": stderr })
        }
        Err(failure) => json!({ "id": request.id, "error": failure.error }),
    }
}

/// Those that change nothing of their process but what is the thread's own, print nothing, and wait for nobody but the kernel or
/// bound their own time: a `timeout_ms` does not reach them.
fn own(Request { file, args, .. }: &Request) -> Option<Result<(), Failure>> {
    if std::env::args().next().as_ref() != Some(file) {
        return None;
    }
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["kill", options @ ..] => Some(kill::kill(options)),
        ["netns-add", name] => Some(netns::add(name)),
        ["netns-del", name] => Some(netns::delete(name)),
        _ => None,
    }
}

struct Ended {
    status: ExitStatus,
    late: bool,
    stdout: String,
    stderr: String,
}

/// Files in memory instead of pipes: there is nothing to wait for but the program's own end.
fn run(request: &Request) -> Result<Ended, Failure> {
    let (mut stdin, mut stdout, mut stderr) = (memory()?, memory()?, memory()?);
    stdin.write_all(request.input.as_bytes()).and_then(|()| stdin.rewind()).at(Step::Fork, "input")?;
    let mut command = Command::new(&request.file);
    // Whoever asked starts it again when this process is gone: two at once must not write one file.
    // SAFETY: a system call of the child alone. Its parent is this thread, which waits for its end.
    unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) };
    let mut child = command
        .args(&request.args)
        .stdin(Stdio::from(stdin))
        .stdout(shared(&stdout)?)
        .stderr(shared(&stderr)?)
        .spawn()
        .at(Step::Exec, &request.file)?;
    // It is not waited for yet, so its pid is still its own.
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let process = pid.ok_or_else(|| Failure::new(Step::Fork, "no pid"))?;
    let process = pidfd_open(process, PidfdFlags::empty()).at(Step::Fork, "pidfd")?;
    let late = !await_end(&process, Duration::from_millis(request.timeout_ms))?;
    if late {
        child.kill().at(Step::Kill, &request.file)?;
    }
    let status = child.wait().at(Step::Fork, &request.file)?;
    Ok(Ended { status, late, stdout: text(&mut stdout)?, stderr: text(&mut stderr)? })
}

fn memory() -> Result<File, Failure> {
    memfd_create("output", MemfdFlags::CLOEXEC).map(File::from).at(Step::Fork, "memory")
}

fn shared(file: &File) -> Result<Stdio, Failure> {
    file.try_clone().map(Stdio::from).at(Step::Fork, "memory")
}

fn text(file: &mut File) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes)).at(Step::Fork, "output")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
