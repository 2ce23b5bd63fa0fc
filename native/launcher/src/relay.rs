//! For a VMM that wants paths of sockets and no descriptors (Firecracker): the keeper joins each socket that the host
//! dials with one inside the jail. It runs after every privilege was dropped, and what a guest can make it hold is a
//! pair of connections and their buffers.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{CWD, Gid, Mode, Uid, chmodat, chown};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use crate::document::{Document, RelayKind};
use crate::failure::{At, Failure, Step};
use crate::pair::{Pair, is_gone};
use crate::sockets::Listening;

/// Connections to the VMM's control socket at once.
const MOST_DIALLED: usize = 4;
/// Of a guest that dials without end, before the others have their turn.
const MOST_REFUSED: usize = 64;

enum Inner {
    /// The guest dials: the VMM connects it to this one.
    Accepts(UnixListener),
    /// The VMM listens.
    Dials(PathBuf),
}

pub struct Relay {
    outer: UnixListener,
    inner: Inner,
    /// At most one of each waits for its turn.
    waiting: (Option<UnixStream>, Option<UnixStream>),
    pairs: Vec<Pair>,
}

/// In the jail, still as root: makes the sockets that the VMM's user may connect to.
pub fn prepare(document: &Document, sockets: &[Listening]) -> Result<Vec<Relay>, Failure> {
    document.relays.iter().map(|each| prepare_one(document, each, sockets)).collect()
}

fn prepare_one(document: &Document, relay: &crate::document::Relay, sockets: &[Listening]) -> Result<Relay, Failure> {
    let Some(listening) = sockets.iter().find(|socket| socket.target == relay.fd) else {
        return Err(Failure::new(Step::Relays, format!("no socket {}", relay.fd)));
    };
    let outer = UnixListener::from(listening.fd.try_clone().at(Step::Relays, "socket")?);
    outer.set_nonblocking(true).at(Step::Relays, "socket")?;
    let inner = match relay.kind {
        RelayKind::Dial => Inner::Dials(relay.path.clone()),
        RelayKind::Accept => {
            let listener = UnixListener::bind(&relay.path).at(Step::Relays, relay.path.display())?;
            let (uid, gid) = (Uid::from_raw(document.uid), Gid::from_raw(document.gid));
            chown(&relay.path, Some(uid), Some(gid)).at(Step::Relays, relay.path.display())?;
            let mode = Mode::from_raw_mode(0o600);
            chmodat(CWD, &relay.path, mode, rustix::fs::AtFlags::empty()).at(Step::Relays, relay.path.display())?;
            listener.set_nonblocking(true).at(Step::Relays, relay.path.display())?;
            Inner::Accepts(listener)
        }
    };
    Ok(Relay { outer, inner, waiting: (None, None), pairs: Vec::new() })
}

/// Without waiting: a VMM in a guest's hands may have put a socket there whose backlog is full.
fn connect(path: &Path) -> std::io::Result<UnixStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

impl Relay {
    /// After something happened.
    pub fn serve(&mut self) {
        self.pairs.retain_mut(Pair::serve);
        match &self.inner {
            Inner::Dials(path) => {
                while self.pairs.len() < MOST_DIALLED {
                    let Ok((client, _)) = self.outer.accept() else { break };
                    // A VMM that does not listen (yet, or any more): the client sees its connection end.
                    if let Ok(pair) = connect(path).and_then(|vmm| Pair::new(client, vmm)) {
                        self.pairs.push(pair);
                    }
                }
            }
            Inner::Accepts(listener) => {
                let (client, guest) = &mut self.waiting;
                for (waiting, from) in [(client, &self.outer), (guest, listener)] {
                    if waiting.as_ref().is_some_and(is_gone) {
                        *waiting = None;
                    }
                    if waiting.is_none() {
                        *waiting = from.accept().ok().map(|(stream, _)| stream);
                    }
                }
                // A backlog that fills up would block the VMM in connect(2) for ever, with its guest's disks and channel.
                if self.waiting.1.is_some() {
                    (0..MOST_REFUSED).map_while(|_| listener.accept().ok()).for_each(drop);
                }
                if self.pairs.is_empty()
                    && let (Some(_), Some(_)) = &self.waiting
                    && let (Some(client), Some(guest)) = std::mem::take(&mut self.waiting)
                    && let Ok(pair) = Pair::new(client, guest)
                {
                    self.pairs.push(pair);
                }
            }
        }
    }

    pub fn polled<'a>(&'a self, into: &mut Vec<PollFd<'a>>) {
        into.extend(self.pairs.iter().flat_map(Pair::polled));
        match &self.inner {
            Inner::Dials(_) if self.pairs.len() < MOST_DIALLED => into.push(PollFd::new(&self.outer, PollFlags::IN)),
            Inner::Dials(_) => {}
            Inner::Accepts(listener) => {
                into.push(PollFd::new(listener, PollFlags::IN));
                let (client, guest) = &self.waiting;
                // Of who waits, only the end is wanted.
                into.extend([client, guest].into_iter().flatten().map(|each| PollFd::new(each, PollFlags::empty())));
                if client.is_none() {
                    into.push(PollFd::new(&self.outer, PollFlags::IN));
                }
            }
        }
    }
}
