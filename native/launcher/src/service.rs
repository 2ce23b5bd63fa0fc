//! Starts an unprivileged process of the stack: its own uid, no capabilities and no way to gain any, and the program's
//! folder bound read-only to where that uid can reach it – a checkout may lie below a folder that only root enters.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind, mount_change, mount_remount};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::failure::{At, Failure, Step};
use crate::{privileges, reap};

struct Options {
    uid: u32,
    gid: u32,
    group: Option<u32>,
    app: PathBuf,
    at: PathBuf,
}

/// `service --uid U --gid G [--group G] --app FOLDER --at FOLDER -- PROGRAM ARG…`; returns only when it failed.
pub fn service(words: &[&str]) -> Result<ExitCode, Failure> {
    let split = words.iter().position(|word| *word == "--").ok_or_else(usage)?;
    let (options, command) = (parse(&words[..split])?, &words[split + 1..]);
    let (program, arguments) = command.split_first().ok_or_else(usage)?;
    // Whoever had this uid before is gone, be it an earlier start of this service that left something behind.
    reap::end_all(options.uid, options.uid + 1)?;
    // SAFETY: this process has one thread.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.at(Step::Jail, "unshare")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).at(Step::Jail, "make / private")?;
    bind_read_only(&options.app, &options.at)?;
    privileges::drop_to(options.uid, options.gid, options.group.as_slice())?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let error = Command::new(program).args(arguments.iter().map(OsString::from)).current_dir("/").exec();
    Err(Failure::new(Step::Exec, format!("{program}: {error}")))
}

fn bind_read_only(from: &Path, to: &Path) -> Result<(), Failure> {
    mount_bind(from, to).at(Step::Jail, to.display())?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    mount_remount(to, flags, c"").at(Step::Jail, to.display())
}

fn parse(words: &[&str]) -> Result<Options, Failure> {
    let (mut uid, mut gid, mut group, mut app, mut at) = (None, None, None, None, None);
    for pair in words.chunks(2) {
        match pair {
            ["--uid", value] => uid = value.parse().ok(),
            ["--gid", value] => gid = value.parse().ok(),
            ["--group", value] => group = Some(value.parse().map_err(|_| usage())?),
            ["--app", value] => app = Some(PathBuf::from(value)),
            ["--at", value] => at = Some(PathBuf::from(value)),
            _ => return Err(usage()),
        }
    }
    match (uid, gid, app, at) {
        (Some(uid), Some(gid), Some(app), Some(at)) if uid != 0 && uid != u32::MAX && gid != 0 => {
            Ok(Options { uid, gid, group, app, at })
        }
        _ => Err(usage()),
    }
}

fn usage() -> Failure {
    Failure::new(
        Step::Usage,
        "usage: exai-launcher service --uid U --gid G [--group G] --app FOLDER --at FOLDER -- PROGRAM ARG...",
    )
}
