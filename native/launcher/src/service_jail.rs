//! What a service of the stack sees: libraries, the program, its own folders, a /dev and a /proc of its own.

use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::mount::{MountFlags, mount};

use crate::failure::{At, Failure, Step};
use crate::root::{self, Use, inside, make_folder, open_source};

/// A folder of the host's and whether the service may write to it, seen at its own path.
pub struct Folder {
    pub path: PathBuf,
    pub write: bool,
}

/// Must run in a mount namespace of its own. A program outside the app's folder and the libraries is seen too.
pub fn enter(app: &Path, at: &Path, libraries: &[PathBuf], folders: &[Folder], program: &Path) -> Result<(), Failure> {
    root::leave_hosts_mounts()?;
    let (mut sources, links) = root::open_system_folders(libraries)?;
    sources.push(open_source(app, at, FileType::Directory, Use::Execute)?);
    if !program.starts_with(at) && !libraries.iter().any(|each| program.starts_with(each)) {
        sources.push(open_source(program, program, FileType::RegularFile, Use::Execute)?);
    }
    for Folder { path, write } in folders {
        sources.push(open_source(path, path, FileType::Directory, if *write { Use::Write } else { Use::Read })?);
    }
    root::build(&sources, links)?;
    root::make_devices(None, 0, 0)?;
    mount_proc()?;
    root::enter()
}

/// Its own processes and nothing of the kernel's: no /proc/sys, no other user's command lines.
fn mount_proc() -> Result<(), Failure> {
    let path = inside(Path::new("/proc"));
    make_folder(&path)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("exai-proc", &path, "proc", flags, c"hidepid=invisible,subset=pid").at(Step::Jail, "/proc")
}
