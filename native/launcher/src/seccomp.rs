//! System-call filters for our own processes. A VMM brings its own. What no process of ours needs is answered EPERM, so
//! that a mistake here shows as an error and not as a killed stack; what is newer than this list is answered ENOSYS, as an
//! older kernel would.

use std::mem::offset_of;

use libc::{c_long, seccomp_data, sock_filter, sock_fprog};

use crate::failure::{Failure, Step};

/// Ways into other processes, into the kernel, and to what is the whole machine's. Neither a service nor the node agent,
/// with the launcher and the VMMs below it, needs one.
const NOBODYS: &[c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_syslog,
    libc::SYS_lookup_dcookie,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_vhangup,
    libc::SYS_uselib,
];

/// What makes root's world out of a uid's: mounts, namespaces, devices; and memory that the kernel waits for in user space.
const ROOTS: &[c_long] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_mknod,
    libc::SYS_mknodat,
    libc::SYS_personality,
    libc::SYS_userfaultfd,
    libc::SYS_memfd_create,
    libc::SYS_execveat,
];

/// futex_requeue, of Linux 6.7. A later call is looked at before it is let through.
const NEWEST: c_long = 456;
/// sched.h: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const NAMESPACES: u32 = 0x7e02_0000;
/// audit.h: the 64-bit x86.
const ARCHITECTURE: u32 = 0xc000_003e;

const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
const EAFNOSUPPORT: u32 = libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32;

/// For a process without rights. `internet`: it may speak IPv4 and IPv6; all may use UNIX sockets, nobody anything else.
pub fn confine_service(internet: bool) -> Result<(), Failure> {
    let families: &[i32] = if internet { &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6] } else { &[libc::AF_UNIX] };
    let mut program = begin();
    program.extend([NOBODYS, ROOTS].concat().into_iter().flat_map(|call| answer(call, EPERM)));
    // Its flags lie in memory, which a filter can't see; libc then takes clone(2).
    program.extend(answer(libc::SYS_clone3, ENOSYS));
    // jset: any of the bits.
    program.extend(unless_call(libc::SYS_clone, 3));
    program.extend([load(0), jump(libc::BPF_JSET, NAMESPACES, 0, 1), give(EPERM)]);
    install(end(program, families))
}

/// For the node agent and what it starts: launcher, mke2fs, VMMs.
pub fn confine_agent() -> Result<(), Failure> {
    let mut program = begin();
    program.extend(NOBODYS.iter().flat_map(|call| answer(*call, EPERM)));
    install(end(program, &[libc::AF_UNIX]))
}

fn begin() -> Vec<sock_filter> {
    vec![
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset_of!(seccomp_data, arch) as u32),
        jump(libc::BPF_JEQ, ARCHITECTURE, 1, 0),
        give(libc::SECCOMP_RET_KILL_PROCESS),
        number(),
        // The x32 calls have bit 30 set, so they are above it too.
        jump(libc::BPF_JGT, NEWEST as u32, 0, 1),
        give(ENOSYS),
    ]
}

fn end(mut program: Vec<sock_filter>, families: &[i32]) -> Vec<sock_filter> {
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        program.extend(unless_call(call, families.len() as u8 * 2 + 2));
        program.push(load(0));
        for family in families {
            program.extend([jump(libc::BPF_JEQ, *family as u32, 0, 1), give(libc::SECCOMP_RET_ALLOW)]);
        }
        program.push(give(EAFNOSUPPORT));
    }
    program.push(give(libc::SECCOMP_RET_ALLOW));
    program
}

fn answer(call: c_long, with: u32) -> [sock_filter; 2] {
    [jump(libc::BPF_JEQ, call as u32, 0, 1), give(with)]
}

/// Goes over the next `lines` unless it is this call, whose number is in the accumulator before and after.
fn unless_call(call: c_long, lines: u8) -> [sock_filter; 2] {
    [number(), jump(libc::BPF_JEQ, call as u32, 0, lines)]
}

fn number() -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset_of!(seccomp_data, nr) as u32)
}

/// The lower half of an argument.
fn load(argument: usize) -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (offset_of!(seccomp_data, args) + argument * 8) as u32)
}

fn give(answer: u32) -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, answer)
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn jump(kind: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | kind | libc::BPF_K) as u16, jt, jf, k }
}

fn install(mut program: Vec<sock_filter>) -> Result<(), Failure> {
    let filter = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies the program, which lives as long as the call.
    if unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter) } == 0 {
        return Ok(());
    }
    Err(Failure::new(Step::Privileges, format!("seccomp: {}", std::io::Error::last_os_error())))
}
