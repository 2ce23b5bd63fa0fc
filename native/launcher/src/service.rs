//! Starts the long-lived processes of the stack: `service` those without rights, each in a jail of its own; `agent` the
//! node agent, which stays root and keeps no more of it than its work takes.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::document::Limits;
use crate::failure::{At, Failure, Step};
use crate::service_jail::Folder;
use crate::{cgroups, privileges, reap, seccomp, service_jail};

/// Threads of Node and its pool are about a dozen; files are sockets of clients and guests.
const LIMITS: Limits =
    Limits { nofile: 65_536, fsize_bytes: libc::RLIM_INFINITY, core: 0, memlock_bytes: 65_536, nproc: 256 };

struct Options {
    uid: u32,
    gid: u32,
    group: Option<u32>,
    app: PathBuf,
    at: PathBuf,
    libraries: Vec<PathBuf>,
    folders: Vec<Folder>,
    /// It listens to, or calls, addresses of the host's; else it has a network namespace with nothing in it.
    host_network: bool,
}

/// Returns only when it failed.
pub fn service(words: &[&str]) -> Result<ExitCode, Failure> {
    let split = words.iter().position(|word| *word == "--").ok_or_else(usage)?;
    let (options, command) = (parse(&words[..split])?, &words[split + 1..]);
    let (program, arguments) = command.split_first().ok_or_else(usage)?;
    // Whoever had this uid before is gone, be it an earlier start of this service that left something behind.
    reap::end_all(options.uid, options.uid + 1)?;
    keep_standard_descriptors()?;
    let mut flags = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP;
    flags.set(UnshareFlags::NEWNET, !options.host_network);
    // SAFETY: this process has one thread, and no descriptor table is unshared.
    unsafe { unshare_unsafe(flags) }.at(Step::Namespaces, "unshare")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    service_jail::enter(&options.app, &options.at, &options.libraries, &options.folders, Path::new(program))?;
    privileges::limit(&LIMITS)?;
    privileges::drop_to(options.uid, options.gid, options.group.as_slice())?;
    seccomp::confine_service(options.host_network)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    execute(program, arguments)
}

/// `agent -- PROGRAM ARG…`; returns only when it failed. It stays in the host's mount namespace: the network namespaces
/// that it has made are mounts, which must be there for its successor.
pub fn agent(words: &[&str]) -> Result<ExitCode, Failure> {
    let ["--", program, arguments @ ..] = words else { return Err(usage()) };
    keep_standard_descriptors()?;
    cgroups::pass_controllers_down();
    // SAFETY: this process has one thread, and no descriptor table is unshared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS) }
        .at(Step::Namespaces, "unshare")?;
    privileges::keep_for_agent()?;
    seccomp::confine_agent()?;
    execute(program, arguments)
}

fn execute(program: &str, arguments: &[&str]) -> Result<ExitCode, Failure> {
    let error = Command::new(program).args(arguments.iter().map(OsString::from)).current_dir("/").exec();
    Err(Failure::new(Step::Exec, format!("{program}: {error}")))
}

/// What else the caller had open is its own business.
fn keep_standard_descriptors() -> Result<(), Failure> {
    // SAFETY: nothing of this process uses a descriptor from 3 on yet.
    if unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) } == 0 {
        return Ok(());
    }
    Err(Failure::new(Step::Fork, format!("close_range: {}", std::io::Error::last_os_error())))
}

fn parse(words: &[&str]) -> Result<Options, Failure> {
    let (mut uid, mut gid, mut group, mut app, mut at) = (None, None, None, None, None);
    let (mut libraries, mut folders, mut host_network) = (Vec::new(), Vec::new(), false);
    for pair in words.chunks(2) {
        match pair {
            ["--uid", value] => uid = value.parse().ok(),
            ["--gid", value] => gid = value.parse().ok(),
            ["--group", value] => group = Some(value.parse().map_err(|_| usage())?),
            ["--app", value] => app = Some(PathBuf::from(value)),
            ["--at", value] => at = Some(PathBuf::from(value)),
            ["--libraries", value] => libraries.push(PathBuf::from(value)),
            ["--see", value] => folders.push(Folder { path: PathBuf::from(value), write: false }),
            ["--write", value] => folders.push(Folder { path: PathBuf::from(value), write: true }),
            ["--network", "host"] => host_network = true,
            ["--network", "none"] => host_network = false,
            _ => return Err(usage()),
        }
    }
    match (uid, gid, app, at) {
        (Some(uid), Some(gid), Some(app), Some(at)) if uid != 0 && uid != u32::MAX && gid != 0 => {
            Ok(Options { uid, gid, group, app, at, libraries, folders, host_network })
        }
        _ => Err(usage()),
    }
}

fn usage() -> Failure {
    Failure::new(
        Step::Usage,
        "usage: exai-launcher service --uid U --gid G [--group G] --app FOLDER --at FOLDER [--libraries FOLDER]... \
         [--see FOLDER]... [--write FOLDER]... [--network host|none] -- PROGRAM ARG...\n       \
         exai-launcher agent -- PROGRAM ARG...",
    )
}
