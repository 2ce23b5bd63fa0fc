//! `run`: from the document on standard input to a running VMM, then its keeper until it ends.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::time::Timespec;
use serde_json::{Value, json};

use crate::anchored::new_log;
use crate::document::{self, Document};
use crate::failure::{At, Failure, Step};
use crate::identity::{AsUser, start_time};
use crate::pump::{Stream, pump};
use crate::relay::{self, Relay};
use crate::ring::Ring;
use crate::sockets::{self, Listening};
use crate::status::{Started, StatusFile};
use crate::vmm::{self, Waiting};
use crate::{inputs, jail, place, privileges};

/// Bytes a second that a guest's console, and the VMM's own messages, may write.
const CONSOLE_RATE: u32 = 1 << 20;
const STDERR_RATE: u32 = 64 << 10;

/// Prints one JSON line and ends, while a process of its own session goes on as the VMM's keeper.
pub fn run() -> ExitCode {
    // What the caller left open is its own business; neither keeper nor VMM may have it.
    // SAFETY: nothing of this process uses a descriptor from 3 on yet.
    unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
    let (line, code) = match document::read(std::io::stdin().lock()).and_then(detach) {
        Ok(outcome) => outcome,
        Err(failure) => refusal(&failure),
    };
    println!("{line}");
    ExitCode::from(code)
}

fn refusal(failure: &Failure) -> (Value, u8) {
    (json!({ "ok": false, "step": failure.step.name(), "error": failure.error }), failure.step as u8)
}

fn detach(document: Document) -> Result<(Value, u8), Failure> {
    // A caller that dies before it has its answer takes this process with it, and the keeper notices that.
    let death = Some(rustix::process::Signal::KILL);
    rustix::process::set_parent_process_death_signal(death).at(Step::Daemonize, "death signal")?;
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).at(Step::Daemonize, "pipe")?;
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        -1 => Err(Failure::new(Step::Daemonize, std::io::Error::last_os_error().to_string())),
        0 => {
            drop(read);
            keep(&document, write);
            std::process::exit(0)
        }
        _ => {
            drop(write);
            let mut text = String::new();
            File::from(read).read_to_string(&mut text).at(Step::Daemonize, "read")?;
            let report: (Value, u8) = serde_json::from_str(&text).at(Step::Daemonize, "the keeper ended early")?;
            Ok(report)
        }
    }
}

/// The keeper. Its first lines run as root, what follows `start` without any privilege.
fn keep(document: &Document, report: OwnedFd) {
    let mut report = File::from(report);
    let mut sockets = Vec::new();
    match start(document, &mut sockets, &report) {
        Err(failure) => {
            sockets.iter().for_each(Listening::remove);
            let _ = writeln!(report, "{}", json!(refusal(&failure)));
        }
        Ok(running) => {
            drop(sockets);
            let mut line = running.started.json();
            line["ok"] = true.into();
            let _ = writeln!(report, "{}", json!((line, 0)));
            drop(report);
            finish(running);
        }
    }
}

struct Running {
    started: Started,
    status: StatusFile,
    streams: Vec<Stream>,
    relays: Vec<Relay>,
    null: File,
    /// Its end tells the child that the launcher is gone.
    _go: File,
}

fn start(document: &Document, sockets: &mut Vec<Listening>, report: &File) -> Result<Running, Failure> {
    let null = leave_caller()?;
    let mut status = StatusFile::take(&document.status_file)?;
    for socket in &document.sockets {
        let relayed = document.relays.iter().any(|relay| relay.fd == socket.fd);
        sockets.push(sockets::listen(socket, relayed)?);
    }
    let console = open_console(document)?;
    let stderr = open_ring(&document.stderr_log.path, document.stderr_log.max_bytes, Step::StderrLog)?;
    let inputs = inputs::open(document)?;
    let mut rings = Vec::new();
    for fifo in &document.fifos {
        rings.push(open_ring(&fifo.log.path, fifo.log.max_bytes, Step::Fifos)?);
    }
    if let Some(folder) = &document.cgroup {
        place::join_cgroup(folder)?;
    }
    if let Some(file) = &document.netns {
        place::enter_netns(file)?;
    }
    if let Some(cpus) = &document.cpuset {
        place::pin_to_cpus(cpus)?;
    }
    let proc =
        open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).at(Step::Jail, "/proc")?;
    place::unshare_rest()?;
    let fifos = jail::enter(document)?;
    let relays = relay::prepare(document, sockets)?;
    let child = vmm::fork(document, sockets, &inputs)?;
    let started = identify(document, &proc, &child)?;
    // From here the keeper can't do more than the VMM may.
    drop(proc);
    privileges::drop_all(document.uid, document.gid)?;
    status.started(&started)?;
    refuse_without_caller(report)?;
    match child.go() {
        Err(failure) => {
            status.ended(json!({ "code": 127 }), Some(&failure.to_string()))?;
            Err(failure)
        }
        Ok((go, out, err)) => {
            let mut streams = vec![Stream::new(out, console, CONSOLE_RATE), Stream::new(err, stderr, STDERR_RATE)];
            let more = fifos.into_iter().zip(rings).map(|(fifo, ring)| Stream::fifo(fifo, ring, STDERR_RATE));
            streams.extend(more);
            Ok(Running { started, status, streams, relays, null, _go: go })
        }
    }
}

/// A session of its own, no descriptor of the caller's but the report: the caller may die.
fn leave_caller() -> Result<File, Failure> {
    rustix::process::setsid().at(Step::Daemonize, "setsid")?;
    rustix::process::chdir("/").at(Step::Daemonize, "chdir")?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).at(Step::Daemonize, "/dev/null")?;
    for fd in 0..3 {
        // SAFETY: standard descriptors are not owned by anything else here.
        if unsafe { libc::dup2(null.as_raw_fd(), fd) } != fd {
            return Err(Failure::new(Step::Daemonize, std::io::Error::last_os_error().to_string()));
        }
    }
    // Root's groups would count when files are made with somebody else's uid.
    // SAFETY: a plain system call.
    if unsafe { libc::setgroups(0, std::ptr::null()) } != 0 {
        return Err(Failure::new(Step::Daemonize, "setgroups"));
    }
    Ok(File::from(null))
}

/// A VMM whose start nobody waits for must not run: a caller's successor may have looked already and found nothing. From
/// the line in the status file on, which stands before this, it finds the VMM.
fn refuse_without_caller(report: &File) -> Result<(), Failure> {
    let mut polled = [PollFd::new(report, PollFlags::empty())];
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).at(Step::Daemonize, "poll")?;
    if polled[0].revents().contains(PollFlags::ERR) {
        return Err(Failure::new(Step::Daemonize, "the caller is gone"));
    }
    Ok(())
}

fn open_console(document: &Document) -> Result<Ring, Failure> {
    let console = &document.console;
    let _user = AsUser::become_user(console.uid, console.gid, Step::Console)?;
    open_ring(&console.path, console.max_bytes, Step::Console)
}

/// `path` and, for what is older, `path` with `.1` after it.
fn open_ring(path: &std::path::Path, max_bytes: u64, step: Step) -> Result<Ring, Failure> {
    let mut older = path.as_os_str().to_owned();
    older.push(".1");
    Ok(Ring::new(new_log(path, step)?, new_log(older.as_ref(), step)?, max_bytes))
}

fn identify(document: &Document, proc: &OwnedFd, child: &Waiting) -> Result<Started, Failure> {
    let of = |pid: i32| {
        start_time(proc, pid)?.ok_or_else(|| Failure::new(Step::Fork, format!("process {pid} has ended already")))
    };
    let launcher_pid = std::process::id() as i32;
    Ok(Started {
        tag: document.tag.clone(),
        pid: child.pid,
        start_time: of(child.pid)?,
        launcher_pid,
        launcher_start_time: of(launcher_pid)?,
    })
}

fn finish(running: Running) {
    let Running { started, mut status, streams, relays, null, _go } = running;
    pump(streams, relays, &null);
    let mut raw = 0;
    // SAFETY: a valid pointer; the child is ours and not waited for elsewhere.
    while unsafe { libc::waitpid(started.pid, &mut raw, 0) } == -1 {
        if std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted {
            return;
        }
    }
    let exit = if libc::WIFSIGNALED(raw) {
        json!({ "signal": libc::WTERMSIG(raw) })
    } else {
        json!({ "code": libc::WEXITSTATUS(raw) })
    };
    let _ = status.ended(exit, None);
}
