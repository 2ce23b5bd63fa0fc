//! Between clone3(2) and execve(2): everything that the child does before it is the user's program.
//!
//! The child is a copy of a process that may have other threads, so it must not allocate or take a lock: all it
//! needs is prepared here before, and it makes system calls only. What goes wrong is written to a pipe that a
//! successful execve closes, so that the caller gets the step and the errno instead of an exit code.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

// linux/sched.h; the C library's constant has no type that fits.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Where a start failed; the discriminant goes through the pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    Prepare = 0,
    WorkingFolder = 1,
    Execute = 2,
}

/// All that the child needs, in the form in which the kernel takes it.
pub struct Program {
    /// Tried in order, as execvp(3) does.
    pub candidates: Vec<CString>,
    pub argv: Vec<CString>,
    pub env: Vec<CString>,
    pub cwd: CString,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// The child's 0, 1 and 2, and whether they are a terminal that it shall control.
pub struct Stdio {
    pub fds: [RawFd; 3],
    pub terminal: bool,
}

/// Starts the child and returns its pid without waiting for execve. `errors` is the writing end of a
/// close-on-exec pipe that gets `[step, 0, 0, 0, errno as native i32]` if it fails.
pub fn start(program: &Program, stdio: &Stdio, errors: RawFd, cgroup: Option<BorrowedFd>) -> io::Result<i32> {
    let argv = pointers(&program.argv);
    let env = pointers(&program.env);
    // SAFETY: all-zero is a valid clone_args.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.exit_signal = libc::SIGCHLD as u64;
    if let Some(group) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = group.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM this is a fork: the child goes on in a copy of our memory, on the same stack.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    match pid {
        0 => {
            let (step, errno) = become_program(program, stdio, &argv, &env);
            report(errors, step, errno)
        }
        1.. => Ok(pid as i32),
        _ => Err(io::Error::last_os_error()),
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

type Pointers<'a> = &'a [*const libc::c_char];

/// Returns only on failure.
fn become_program(program: &Program, stdio: &Stdio, argv: Pointers, env: Pointers) -> (Step, i32) {
    if let Err(errno) = prepare(program, stdio) {
        return (Step::Prepare, errno);
    }
    // SAFETY (here and below): system calls on memory that outlives them.
    if unsafe { libc::chdir(program.cwd.as_ptr()) } < 0 {
        return (Step::WorkingFolder, errno());
    }
    let mut result = libc::ENOENT;
    for candidate in &program.candidates {
        // An execve that finds nothing has built half an address space by then; asking first costs a tenth of it.
        let absent = unsafe { libc::access(candidate.as_ptr(), libc::F_OK) } < 0;
        if absent && matches!(errno(), libc::ENOENT | libc::ENOTDIR) {
            continue;
        }
        unsafe { libc::execve(candidate.as_ptr(), argv.as_ptr(), env.as_ptr()) };
        match errno() {
            libc::ENOENT | libc::ENOTDIR => {}
            // Another folder of PATH may hold one that may be executed.
            libc::EACCES => result = libc::EACCES,
            other => return (Step::Execute, other),
        }
    }
    (Step::Execute, result)
}

fn prepare(program: &Program, stdio: &Stdio) -> Result<(), i32> {
    unsafe {
        // Ignored by Rust's runtime; an ignored signal stays ignored over execve.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
        check(libc::setsid().into())?;
        if stdio.terminal {
            check(libc::ioctl(stdio.fds[0], libc::TIOCSCTTY as _, 0).into())?;
        }
        for (to, from) in stdio.fds.into_iter().enumerate() {
            // They are all above 2 and close-on-exec; the copies are not.
            check(libc::dup2(from, to as RawFd).into())?;
        }
        // Everything of ours is close-on-exec already; this holds for what nobody thought of.
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
        default_oom_score(c"/proc/self/oom_score_adj");
        check(super::no_vsock::apply().into())?;
        // The raw calls: the C library's would try to change every thread of a process that is not ours.
        check(libc::syscall(libc::SYS_setgroups, program.groups.len(), program.groups.as_ptr()))?;
        check(libc::syscall(libc::SYS_setresgid, program.gid, program.gid, program.gid))?;
        check(libc::syscall(libc::SYS_setresuid, program.uid, program.uid, program.uid))
    }
}

/// PID 1 is exempt from the OOM killer, its children are not.
fn default_oom_score(path: &CStr) {
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        libc::write(fd, c"0".as_ptr().cast(), 1);
        libc::close(fd);
    }
}

fn report(errors: RawFd, step: Step, errno: i32) -> ! {
    let mut message = [0_u8; 8];
    message[0] = step as u8;
    message[4..].copy_from_slice(&errno.to_ne_bytes());
    unsafe {
        libc::write(errors, message.as_ptr().cast(), message.len());
        libc::_exit(127)
    }
}

fn check(result: libc::c_long) -> Result<(), i32> {
    if result < 0 { Err(errno()) } else { Ok(()) }
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}
