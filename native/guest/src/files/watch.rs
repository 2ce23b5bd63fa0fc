//! Changes below a path, by inotify.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, init};
use rustix::io::Errno;
use tonic::Status;

use super::frames::Reply;
use super::watch_tree::Watched;
use crate::proto::WatchEvent;
use crate::proto::watch_event::Kind;
use crate::status::from_errno;

const BUFFER_BYTES: usize = 16 * 1024;
/// How often a watch without events looks whether its client is still there.
const LOOK_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };

/// Sends READY, then every change until the client goes away. RESOURCE_EXHAUSTED: too many folders.
pub fn watch(path: &[u8], recursive: bool, reply: &Reply<WatchEvent>) -> Result<(), Status> {
    let failed = |errno: Errno| from_errno(errno, "watch");
    let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(failed)?;
    let mut watched = Watched::new(&inotify, path, recursive)?;
    reply.send(event(Kind::Ready, Vec::new()))?;
    let mut buffer = vec![std::mem::MaybeUninit::uninit(); BUFFER_BYTES];
    let mut reader = Reader::new(&inotify, &mut buffer);
    // The first half of a move, until its second half or any other event comes.
    let mut moved: Option<(u32, Vec<u8>)> = None;
    while wait(&inotify, reply)? {
        loop {
            let next = match reader.next() {
                Ok(next) => next,
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(failed(errno)),
            };
            let name = next.file_name().map(|name| name.to_bytes()).unwrap_or_default();
            let (flags, cookie) = (next.events(), next.cookie());
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                reply.send(event(Kind::Overflow, Vec::new()))?;
                continue;
            }
            let Some(path) = watched.path_of(next.wd(), name) else { continue };
            let second = flags.contains(ReadFlags::MOVED_TO);
            if let Some((first, from)) = moved.take() {
                if second && first == cookie {
                    watched.moved(&from, &path);
                    reply.send(WatchEvent { moved_to: path.into(), ..event(Kind::Moved, from) })?;
                    continue;
                }
                watched.removed(&from);
                reply.send(event(Kind::Removed, from))?;
            }
            if flags.contains(ReadFlags::MOVED_FROM) {
                moved = Some((cookie, path));
                continue;
            }
            if flags.contains(ReadFlags::IGNORED) {
                if watched.forget(next.wd()) {
                    return Ok(());
                }
                continue;
            }
            let Some(kind) = kind_of(flags) else { continue };
            reply.send(event(kind, path.clone()))?;
            if kind == Kind::Created && flags.contains(ReadFlags::ISDIR) {
                for found in watched.add_new(&path)? {
                    reply.send(event(Kind::Created, found))?;
                }
            }
        }
        if let Some((_, from)) = moved.take() {
            watched.removed(&from);
            reply.send(event(Kind::Removed, from))?;
        }
    }
    Ok(())
}

fn event(kind: Kind, path: Vec<u8>) -> WatchEvent {
    WatchEvent { kind: kind.into(), path: path.into(), moved_to: Default::default() }
}

fn kind_of(flags: ReadFlags) -> Option<Kind> {
    let kinds = [
        (ReadFlags::CREATE | ReadFlags::MOVED_TO, Kind::Created),
        (ReadFlags::DELETE | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF, Kind::Removed),
        (ReadFlags::MODIFY, Kind::Modified),
        (ReadFlags::ATTRIB, Kind::Attributes),
    ];
    kinds.into_iter().find(|(any, _)| flags.intersects(*any)).map(|(_, kind)| kind)
}

/// Until there are events; false: the client is gone.
fn wait(inotify: &OwnedFd, reply: &Reply<WatchEvent>) -> Result<bool, Status> {
    loop {
        if reply.is_closed() {
            return Ok(false);
        }
        let mut fds = [PollFd::new(inotify, PollFlags::IN)];
        match poll(&mut fds, Some(&LOOK_AGAIN)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(from_errno(errno, "watch")),
        }
    }
}
