//! Programs get no vsock. Whoever dials the host on the channel's port is the agent to it, and a vsock, unlike a port's device,
//! is open to every user of the guest.

use std::sync::atomic::{AtomicBool, Ordering};

static DENIED: AtomicBool = AtomicBool::new(false);

/// From now on, for every program that is started: the guest's channel is a vsock.
pub fn deny() {
    DENIED.store(true, Ordering::Relaxed);
}

// linux/filter.h, linux/seccomp.h, linux/audit.h
const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const ERROR: u32 = 0x0005_0000;
const X86_64: u32 = 0xc000_003e;
/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

const fn step(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf: 0, k }
}

/// Goes on, or skips so many steps.
const fn unless(k: u32, skip: u8) -> libc::sock_filter {
    libc::sock_filter { code: EQUAL, jt: 0, jf: skip, k }
}

/// `socket(AF_VSOCK, …)` fails as on a kernel without it. Our kernel has no other system calls that make one: no 32-bit
/// ones, no io_uring.
static FILTER: [libc::sock_filter; 8] = [
    step(LOAD, ARCHITECTURE),
    unless(X86_64, 5),
    step(LOAD, NUMBER),
    unless(libc::SYS_socket as u32, 3),
    step(LOAD, FIRST_ARGUMENT),
    unless(libc::AF_VSOCK as u32, 1),
    step(RETURN, ERROR | libc::EAFNOSUPPORT as u32),
    step(RETURN, ALLOW),
];

/// In the child, while it is still root; no allocation. @returns what prctl(2) did
pub fn apply() -> libc::c_int {
    if !DENIED.load(Ordering::Relaxed) {
        return 0;
    }
    let program = libc::sock_fprog { len: FILTER.len() as u16, filter: FILTER.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program, which outlives the call, and changes nothing of it.
    unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_gets_no_vsock_and_everything_else() {
        deny();
        // SAFETY: the child makes system calls only and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: no_new_privs lets a test without root take the filter.
            unsafe {
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                let applied = apply() == 0;
                let unix = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0) >= 0;
                let vsock = libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0);
                let refused = vsock < 0 && *libc::__errno_location() == libc::EAFNOSUPPORT;
                libc::_exit(if applied && unix && refused { 0 } else { 1 });
            }
        }
        let mut status = 0;
        // SAFETY: a child of ours and a valid pointer.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(libc::WEXITSTATUS(status), 0);
        DENIED.store(false, Ordering::Relaxed);
    }
}
