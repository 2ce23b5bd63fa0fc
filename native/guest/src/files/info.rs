//! FileInfo of a stat(2).

use std::os::fd::AsFd;

use rustix::fs::{FileType, Stat};
use tonic::Status;

use super::paths;
use crate::proto::{FileInfo, FileKind};
use crate::status::{from_errno, show};

pub const MODE_BITS: u32 = 0o7777;

pub fn kind(stat: &Stat) -> FileKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Other,
    }
}

pub fn mtime_ns(stat: &Stat) -> i64 {
    (stat.st_mtime).saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64)
}

pub fn of(name: &[u8], stat: &Stat, link_target: Vec<u8>) -> FileInfo {
    FileInfo {
        name: name.to_vec().into(),
        kind: kind(stat).into(),
        mode: stat.st_mode & MODE_BITS,
        size_bytes: stat.st_size as u64,
        mtime_ns: mtime_ns(stat),
        uid: stat.st_uid,
        gid: stat.st_gid,
        link_target: link_target.into(),
    }
}

/// The info of a folder's entry, shown as `shown`. A link is not followed.
pub fn at(folder: impl AsFd, name: &[u8], shown: &[u8]) -> Result<FileInfo, Status> {
    let read = || {
        let stat = paths::stat_at(&folder, name)?;
        let target = match kind(&stat) {
            FileKind::Symlink => rustix::fs::readlinkat(&folder, name, Vec::new())?.into_bytes(),
            _ => Vec::new(),
        };
        Ok(of(shown, &stat, target))
    };
    read().map_err(|errno| from_errno(errno, &format!("look at {}", show(shown))))
}
