//! How a path of a request becomes a descriptor.
//!
//! Links are followed as for any program, except the kernel's magic ones (/proc/PID/fd/N): through these a link
//! that user code planted would reach the agent's own descriptors.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Stat};
use tonic::Status;

use crate::status::{from_errno, invalid, show};

pub const MAX_PATH_BYTES: usize = 4096;

/// INVALID_ARGUMENT: not absolute, too long, or with a NUL byte.
pub fn check(path: &[u8]) -> Result<(), Status> {
    if path.first() != Some(&b'/') || path.len() > MAX_PATH_BYTES || path.contains(&0) {
        return Err(invalid("a path is absolute, without NUL, and at most 4096 bytes"));
    }
    Ok(())
}

/// Opens what a path leads to. `flags` decide whether a link at its end is followed.
pub fn open(path: &[u8], flags: OFlags) -> Result<OwnedFd, Status> {
    check(path)?;
    // Non-blocking: a fifo would wait for its other end.
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = if flags.contains(OFlags::PATH) { flags & !OFlags::NONBLOCK & !OFlags::NOCTTY } else { flags };
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
        .map_err(|errno| from_errno(errno, &format!("open {}", show(path))))
}

/// The folder that holds a path's last name, and that name. INVALID_ARGUMENT: the path names no entry of a folder.
pub fn parent(path: &[u8]) -> Result<(OwnedFd, Vec<u8>), Status> {
    let (folder, name) = split(path)?;
    Ok((open(folder, OFlags::PATH | OFlags::DIRECTORY)?, name.to_vec()))
}

/// As `parent`, and makes folders that are missing on the way.
pub fn parent_made(path: &[u8]) -> Result<(OwnedFd, Vec<u8>), Status> {
    let (folder, name) = split(path)?;
    make_all(folder, 0o755)?;
    Ok((open(folder, OFlags::PATH | OFlags::DIRECTORY)?, name.to_vec()))
}

/// Makes a folder and those above it. One that exists stays as it is.
pub fn make_all(path: &[u8], mode: u32) -> Result<(), Status> {
    if path == b"/" || open(path, OFlags::PATH | OFlags::DIRECTORY).is_ok() {
        return Ok(());
    }
    let (above, name) = split(path)?;
    make_all(above, 0o755)?;
    let folder = open(above, OFlags::PATH | OFlags::DIRECTORY)?;
    match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(mode)) {
        Err(rustix::io::Errno::EXIST) => Ok(()),
        result => result.map_err(|errno| from_errno(errno, &format!("make {}", show(path)))),
    }
}

fn split(path: &[u8]) -> Result<(&[u8], &[u8]), Status> {
    check(path)?;
    let trimmed = path.len() - path.iter().rev().take_while(|b| **b == b'/').count();
    let path = &path[..trimmed];
    let Some(slash) = path.iter().rposition(|b| *b == b'/') else {
        return Err(invalid("the path is the root itself"));
    };
    let name = &path[slash + 1..];
    if name == b"." || name == b".." {
        return Err(invalid("the path ends with . or .."));
    }
    Ok((if slash == 0 { b"/" } else { &path[..slash] }, name))
}

/// What a folder's entry is, without following it.
pub fn stat_at(folder: impl AsFd, name: &[u8]) -> rustix::io::Result<Stat> {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_into_folder_and_name() {
        assert_eq!(split(b"/a/b//").unwrap(), (&b"/a"[..], &b"b"[..]));
        assert_eq!(split(b"/a").unwrap(), (&b"/"[..], &b"a"[..]));
        for bad in [&b"/"[..], b"//", b"", b"a", b"/a/..", b"/.", b"/a\0b", &[b'/'; 5000]] {
            assert!(split(bad).is_err(), "{}", show(bad));
        }
    }

    #[test]
    fn magic_links_lead_nowhere() {
        assert!(open(b"/proc/self/fd/0", OFlags::RDONLY).is_err());
        assert!(open(b"/proc/self/root/etc", OFlags::PATH).is_err());
        assert!(open(b"/etc/passwd", OFlags::RDONLY).is_ok());
    }
}
