//! A file that is written as a whole or not at all.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;
use tonic::Status;

use super::info::MODE_BITS;
use super::{frames::Frames, info, paths};
use crate::proto::write_request::Frame;
use crate::proto::{FileInfo, WriteOpen, WriteRequest};
use crate::status::{from_errno, invalid, show};

const NANOS: i64 = 1_000_000_000;
const DEFAULT_MODE: u32 = 0o644;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A file under a temporary name; dropped before `finish`, it is removed.
pub struct NewFile<'a> {
    folder: BorrowedFd<'a>,
    temporary: String,
    file: OwnedFd,
    done: bool,
}

impl<'a> NewFile<'a> {
    pub fn create(folder: BorrowedFd<'a>) -> rustix::io::Result<Self> {
        let temporary = temporary_name();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Nobody else reads it before it has its own mode.
        let file = rustix::fs::openat(folder, &temporary, flags, Mode::from_raw_mode(0o600))?;
        Ok(NewFile { folder, temporary, file, done: false })
    }

    pub fn append(&self, mut data: &[u8]) -> rustix::io::Result<()> {
        while !data.is_empty() {
            match rustix::io::write(&self.file, data) {
                Err(Errno::INTR) => {}
                result => data = &data[result?..],
            }
        }
        Ok(())
    }

    /// Gives it its mode, time and name. `mtime_ns` 0 means now.
    pub fn finish(mut self, name: &[u8], mode: u32, mtime_ns: i64) -> rustix::io::Result<()> {
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode & MODE_BITS))?;
        rustix::fs::futimens(&self.file, &times(mtime_ns))?;
        rustix::fs::renameat(self.folder, &self.temporary, self.folder, name)?;
        self.done = true;
        Ok(())
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if !self.done {
            let _ = rustix::fs::unlinkat(self.folder, &self.temporary, AtFlags::empty());
        }
    }
}

/// Unique within this boot, as nobody else uses the prefix; a leftover of a crash is not overwritten but skipped.
pub fn temporary_name() -> String {
    let now = crate::machine::boottime_us();
    format!(".exai-tmp-{now:x}-{:x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn times(mtime_ns: i64) -> Timestamps {
    let given = Timespec { tv_sec: mtime_ns.div_euclid(NANOS), tv_nsec: mtime_ns.rem_euclid(NANOS) };
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    Timestamps { last_access: omit, last_modification: if mtime_ns == 0 { now } else { given } }
}

/// RESOURCE_EXHAUSTED: the file system has less room than `bytes`.
pub fn check_room(folder: impl AsFd, bytes: u64) -> Result<(), Status> {
    let Ok(disk) = rustix::fs::fstatvfs(folder) else { return Ok(()) };
    if bytes > disk.f_bavail.saturating_mul(disk.f_frsize) {
        return Err(Status::resource_exhausted("the disk has not enough room"));
    }
    Ok(())
}

/// Replaces a file by the data of a stream. A link at the path's end is replaced, not followed.
pub fn write(open: WriteOpen, mut frames: Frames<WriteRequest>) -> Result<FileInfo, Status> {
    let (folder, name) = if open.parents { paths::parent_made(&open.path)? } else { paths::parent(&open.path)? };
    check_room(&folder, open.size_bytes)?;
    let failed = |errno: Errno| from_errno(errno, &format!("write {}", show(&open.path)));
    let file = NewFile::create(folder.as_fd()).map_err(failed)?;
    while let Some(frame) = frames.next()? {
        match frame.frame {
            Some(Frame::Data(data)) => file.append(&data).map_err(failed)?,
            _ => return Err(invalid("after the first frame only data follows")),
        }
    }
    let mode = if open.mode == 0 { DEFAULT_MODE } else { open.mode };
    file.finish(&name, mode, open.mtime_ns).map_err(failed)?;
    info::at(&folder, &name, &open.path)
}
