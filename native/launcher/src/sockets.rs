//! The listening sockets that the VMM gets as descriptors. Each is made with the rights of its future owner, who also
//! owns the folder.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

use rustix::fs::Mode;
use rustix::process::{fchdir, umask};

use crate::anchored::{clear, folder_of};
use crate::document::Socket;
use crate::failure::{At, Failure, Step};
use crate::identity::AsUser;

/// Far above every number that a document may ask for.
pub const FIRST_FREE: i32 = 64;

pub struct Listening {
    pub fd: OwnedFd,
    pub target: i32,
    /// The keeper's, not the VMM's.
    pub relayed: bool,
    folder: OwnedFd,
    name: std::ffi::OsString,
    uid: u32,
    gid: u32,
}

pub fn listen(socket: &Socket, relayed: bool) -> Result<Listening, Failure> {
    let _user = AsUser::become_user(socket.uid, socket.gid, Step::Sockets)?;
    let (folder, name) = folder_of(&socket.path, Step::Sockets)?;
    clear(&folder, name, Step::Sockets)?;
    // A relative name: no link in the path is walked again, and the length of the path does not matter.
    fchdir(&folder).at(Step::Sockets, socket.path.display())?;
    let previous = umask(Mode::from_raw_mode(0o777 & !socket.mode));
    let listener = UnixListener::bind(name);
    umask(previous);
    let listener = listener.at(Step::Sockets, socket.path.display())?;
    // SAFETY: duplicates a descriptor that is open; the result is checked and owned once.
    let high = unsafe { libc::fcntl(listener.as_raw_fd(), libc::F_DUPFD_CLOEXEC, FIRST_FREE) };
    if high < 0 {
        return Err(Failure::new(Step::Sockets, std::io::Error::last_os_error().to_string()));
    }
    // SAFETY: `high` was just made and nobody else owns it.
    let fd = unsafe { std::os::fd::FromRawFd::from_raw_fd(high) };
    Ok(Listening { fd, target: socket.fd, relayed, folder, name: name.to_owned(), uid: socket.uid, gid: socket.gid })
}

impl Listening {
    /// After a failed launch nothing may say that a VM runs.
    pub fn remove(&self) {
        if let Ok(_user) = AsUser::become_user(self.uid, self.gid, Step::Sockets) {
            let _ = clear(&self.folder, &self.name, Step::Sockets);
        }
    }
}
