//! The virtio-serial port. While no host is connected it reports POLLHUP and reads zero bytes.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use tokio::sync::{mpsc, oneshot};

use crate::descriptor::register;

use super::connection::{Carry, Connection, lock};

const NAME: &str = "exai.channel.0";
const CLASS: &str = "/sys/class/virtio-ports";
/// The driver makes the port after a handshake with the host.
const APPEARS_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks whether the host is there.
const LONGEST_WAIT: Duration = Duration::from_millis(20);

/// The port, held open for the machine's life: the driver lets nobody else open it meanwhile.
pub struct Port {
    fd: Arc<OwnedFd>,
    carry: Carry,
}

impl Port {
    pub fn open() -> io::Result<Self> {
        let path = format!("/dev/{}", device()?);
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Port { fd: Arc::new(fd), carry: Carry::default() })
    }

    /// Offers one connection after the other until nobody takes them.
    pub async fn run(self, sender: mpsc::Sender<io::Result<Connection>>) {
        loop {
            if lock(&self.carry).is_empty() {
                self.host_connected().await;
            }
            let (alive, ended) = oneshot::channel();
            // Registered anew each time, see `host_connected`.
            let fd = register(self.fd.clone());
            let connection = fd.map(|fd| Connection::of_port(fd, self.carry.clone(), alive));
            if sender.send(connection).await.is_err() {
                return;
            }
            let _ = ended.await;
        }
    }

    /// Polls by timer: once the runtime has seen a hang-up, it reports the descriptor as closed for ever.
    async fn host_connected(&self) {
        let mut wait = Duration::from_millis(1);
        while self.hung_up() {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    fn hung_up(&self) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        polled.is_ok() && fds[0].revents().contains(PollFlags::HUP)
    }
}

fn device() -> io::Result<String> {
    let step = Duration::from_millis(1);
    for _ in 0..APPEARS_WITHIN.as_millis() {
        for entry in fs::read_dir(CLASS).into_iter().flatten().flatten() {
            let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            if name.trim_end() == NAME {
                return Ok(entry.file_name().to_string_lossy().into_owned());
            }
        }
        std::thread::sleep(step);
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no virtio-serial port is named {NAME}")))
}
