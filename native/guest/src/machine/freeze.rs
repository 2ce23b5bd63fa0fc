//! Quiesce: the writable disk in a state that can be copied, for a bounded time.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tonic::Status;

use crate::status::{from_io, invalid};

// _IOWR('X', 119, int) and _IOWR('X', 120, int) of linux/fs.h.
const FIFREEZE: libc::c_ulong = 0xc004_5877;
const FITHAW: libc::c_ulong = 0xc004_5878;
const DEFAULT: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);

/// The file system below the overlay; without a disk (tmpfs) there is nothing to freeze.
pub struct Writable {
    folder: Option<OwnedFd>,
    /// Counts freezes and thaws, so that the timer of one freeze does not end the next.
    epoch: AtomicU64,
}

impl Writable {
    pub fn new(folder: Option<OwnedFd>) -> Self {
        Writable { folder, epoch: AtomicU64::new(0) }
    }

    /// Flushes and freezes until `thaw` or for `max`. FAILED_PRECONDITION: it is frozen already.
    pub async fn freeze(self: Arc<Self>, max: Duration) -> Result<(), Status> {
        let max = if max.is_zero() { DEFAULT } else { max };
        if max > LONGEST {
            return Err(invalid("a freeze lasts at most 300 seconds"));
        }
        let this = self.clone();
        // Writing back what is dirty takes as long as the disk needs.
        let frozen = tokio::task::spawn_blocking(move || {
            rustix::fs::sync();
            this.control(FIFREEZE)
        });
        frozen
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|e| from_io(&e, "freeze the disk"))?;
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        tokio::spawn(async move {
            tokio::time::sleep(max).await;
            if self.epoch.load(Ordering::Relaxed) == epoch {
                let _ = self.thaw();
            }
        });
        Ok(())
    }

    /// Thaws; a disk that is not frozen stays as it is.
    pub fn thaw(&self) -> Result<(), Status> {
        self.epoch.fetch_add(1, Ordering::Relaxed);
        match self.control(FITHAW) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            result => result.map_err(|error| from_io(&error, "thaw the disk")),
        }
    }

    /// The last step before the power goes: read-only, or at least with an empty journal.
    pub fn settle(&self) {
        rustix::fs::sync();
        let Some(folder) = &self.folder else { return };
        let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
        let _ = rustix::mount::mount_remount("/", rustix::mount::MountFlags::RDONLY, "");
        if rustix::mount::mount_remount(path, rustix::mount::MountFlags::RDONLY, "").is_err() {
            let _ = self.control(FIFREEZE);
        }
    }

    fn control(&self, request: libc::c_ulong) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        // SAFETY: both requests ignore their argument.
        let result = unsafe { libc::ioctl(folder.as_raw_fd(), request as _, 0) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
