//! The child: drops everything, then becomes the VMM.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, set_parent_process_death_signal, setsid, umask};

use crate::document::Document;
use crate::failure::{At, Failure, Step};
use crate::inputs::Input;
use crate::privileges;
use crate::sockets::Listening;

/// A child that waits for its order to go on.
pub struct Waiting {
    pub pid: i32,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    /// Kept open for as long as the launcher lives: its end tells the child, before it has its death signal, that the
    /// launcher is gone.
    go: File,
    fault: File,
}

pub fn fork(document: &Document, sockets: &[Listening], inputs: &[Input]) -> Result<Waiting, Failure> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).at(Step::Fork, "pipe");
    let ((go_read, go), (fault, fault_write), (stdout, out), (stderr, err)) = (pipe()?, pipe()?, pipe()?, pipe()?);
    // SAFETY: this process has one thread, so the child may do what it likes.
    match unsafe { libc::fork() } {
        -1 => Err(Failure::new(Step::Fork, std::io::Error::last_os_error().to_string())),
        0 => {
            drop((go, fault, stdout, stderr));
            let failure = match become_vmm(document, sockets, inputs, go_read, out.as_fd(), err.as_fd()) {
                Ok(never) => match never {},
                Err(failure) => failure,
            };
            let text = [&[failure.step as u8], failure.error.as_bytes()].concat();
            let _ = File::from(fault_write).write_all(&text);
            // SAFETY: ends this process without running anything of the parent's.
            unsafe { libc::_exit(127) }
        }
        pid => Ok(Waiting { pid, stdout, stderr, go: go.into(), fault: fault.into() }),
    }
}

impl Waiting {
    /// Lets the child go on and answers when it has become the VMM.
    /// The returned file must stay open until the VMM has ended.
    pub fn go(mut self) -> Result<(File, OwnedFd, OwnedFd), Failure> {
        self.go.write_all(b"g").at(Step::Fork, "the child is gone")?;
        let mut text = Vec::new();
        self.fault.read_to_end(&mut text).at(Step::Exec, "read")?;
        match text.split_first() {
            None => Ok((self.go, self.stdout, self.stderr)),
            Some((step, error)) => Err(Failure::new(Step::from_code(*step), String::from_utf8_lossy(error))),
        }
    }
}

enum Never {}

fn become_vmm(
    document: &Document,
    sockets: &[Listening],
    inputs: &[Input],
    go: OwnedFd,
    stdout: impl AsFd,
    stderr: impl AsFd,
) -> Result<Never, Failure> {
    await_order(&go)?;
    setsid().at(Step::Fork, "setsid")?;
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).at(Step::Fork, "null")?;
    hand_over(null.as_raw_fd(), 0)?;
    hand_over(stdout.as_fd().as_raw_fd(), 1)?;
    hand_over(stderr.as_fd().as_raw_fd(), 2)?;
    close_rest_on_exec()?;
    for socket in sockets.iter().filter(|socket| !socket.relayed) {
        hand_over(socket.fd.as_raw_fd(), socket.target)?;
    }
    for input in inputs {
        hand_over(input.fd.as_raw_fd(), input.target)?;
    }
    reset_signals()?;
    umask(Mode::from_raw_mode(0o077));
    privileges::limit(&document.limits)?;
    privileges::drop_all(document.uid, document.gid)?;
    // Only now: a change of uid clears it.
    set_parent_process_death_signal(Some(Signal::KILL)).at(Step::Privileges, "death signal")?;
    refuse_orphan(&go)?;
    execute(document)
}

fn await_order(go: &OwnedFd) -> Result<(), Failure> {
    match rustix::io::read(go, &mut [0u8; 1]) {
        Ok(1) => Ok(()),
        _ => Err(Failure::new(Step::Fork, "the launcher is gone")),
    }
}

/// Without this, a launcher that died just before the death signal was set would leave a VMM alone.
fn refuse_orphan(go: &OwnedFd) -> Result<(), Failure> {
    let mut polled = [PollFd::new(go, PollFlags::IN)];
    poll(&mut polled, Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 })).at(Step::Fork, "poll")?;
    if polled[0].revents().contains(PollFlags::HUP) {
        return Err(Failure::new(Step::Fork, "the launcher is gone"));
    }
    Ok(())
}

/// dup2(2) also clears close-on-exec; sources are never equal to their targets (0 to 2, or below 64 for sockets).
fn hand_over(from: RawFd, to: RawFd) -> Result<(), Failure> {
    // SAFETY: duplicates descriptors of this process; what stood at `to` is not used again.
    if unsafe { libc::dup2(from, to) } == to {
        return Ok(());
    }
    Err(Failure::new(Step::Fork, format!("dup2 to {to}: {}", std::io::Error::last_os_error())))
}

fn close_rest_on_exec() -> Result<(), Failure> {
    // SAFETY: marks descriptors only.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 {
        return Ok(());
    }
    Err(Failure::new(Step::Fork, format!("close_range: {}", std::io::Error::last_os_error())))
}

/// Rust ignores SIGPIPE and a caller may have blocked others; both would be inherited.
fn reset_signals() -> Result<(), Failure> {
    // SAFETY: no handler is installed; `set` is initialised by sigemptyset before its use.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL); // fails for SIGKILL, SIGSTOP and libc's own, which can't be ignored
        }
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        if libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut()) == 0 {
            return Ok(());
        }
    }
    Err(Failure::new(Step::Fork, "signal mask"))
}

fn execute(document: &Document) -> Result<Never, Failure> {
    let program = CString::new(document.vmm.as_os_str().as_bytes()).at(Step::Exec, "vmm")?;
    let mut arguments = vec![program.clone()];
    for argument in &document.argv {
        arguments.push(CString::new(argument.as_str()).at(Step::Exec, "argv")?);
    }
    let mut pointers: Vec<_> = arguments.iter().map(|each| each.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let environment = [std::ptr::null()];
    // SAFETY: both arrays end with a null pointer and outlive the call.
    unsafe { libc::execve(program.as_ptr(), pointers.as_ptr(), environment.as_ptr()) };
    Err(Failure::new(Step::Exec, format!("{}: {}", document.vmm.display(), std::io::Error::last_os_error())))
}
