//! The listening sockets that the VMM gets as descriptors. Each is made with the rights of its future owner, who also
//! owns the folder.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use rustix::fs::Mode;
use rustix::process::{fchdir, umask};

use crate::anchored::{clear, folder_of};
use crate::document::Socket;
use crate::failure::{At, Failure, Step};
use crate::identity::AsUser;

/// Far above every number that a document may ask for.
const FIRST_FREE: i32 = 64;

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
    let fd = out_of_the_way(&listener, Step::Sockets)?;
    Ok(Listening { fd, target: socket.fd, relayed, folder, name: name.to_owned(), uid: socket.uid, gid: socket.gid })
}

/// The same file at a number that no document asks for: what is handed over later never overwrites it.
pub fn out_of_the_way(fd: impl AsFd, step: Step) -> Result<OwnedFd, Failure> {
    rustix::io::fcntl_dupfd_cloexec(fd, FIRST_FREE).at(step, "descriptor")
}

impl Listening {
    /// After a failed launch nothing may say that a VM runs.
    pub fn remove(&self) {
        if let Ok(_user) = AsUser::become_user(self.uid, self.gid, Step::Sockets) {
            let _ = clear(&self.folder, &self.name, Step::Sockets);
        }
    }
}
