//! Reading one file, or the names of one folder.

use std::os::fd::{AsFd, OwnedFd};

use bytes::Bytes;
use rustix::fs::{Dir, FileType, OFlags};
use rustix::io::Errno;
use tonic::Status;

use super::frames::{CHUNK_BYTES, Reply};
use super::{info, paths};
use crate::proto::{Chunk, FileInfo, ReadRequest};
use crate::status::{from_errno, show};

/// Sends a file's bytes. FAILED_PRECONDITION: it is not a regular file.
pub fn read(request: &ReadRequest, reply: &Reply<Chunk>) -> Result<(), Status> {
    let file = paths::open(&request.path, OFlags::RDONLY)?;
    regular(&file, &request.path)?;
    let failed = |errno: Errno| from_errno(errno, &format!("read {}", show(&request.path)));
    let mut left = if request.length == 0 { u64::MAX } else { request.length };
    let mut offset = request.offset;
    while left > 0 {
        let mut data = vec![0; CHUNK_BYTES.min(usize::try_from(left).unwrap_or(usize::MAX))];
        let read = read_at(&file, &mut data, offset).map_err(failed)?;
        if read == 0 {
            break;
        }
        data.truncate(read);
        reply.send(Chunk { offset, data: data.into() })?;
        offset += read as u64;
        left -= read as u64;
    }
    Ok(())
}

/// FAILED_PRECONDITION: a folder, fifo, socket or device.
pub fn regular(file: &OwnedFd, path: &[u8]) -> Result<rustix::fs::Stat, Status> {
    let stat = rustix::fs::fstat(file).map_err(|errno| from_errno(errno, "look at an open file"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Status::failed_precondition(format!("{} is not a regular file", show(path))));
    }
    Ok(stat)
}

/// Reads until the buffer is full or the file ends.
pub fn read_at(file: impl AsFd, into: &mut [u8], offset: u64) -> rustix::io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match rustix::io::pread(&file, &mut into[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(filled)
}

/// Sends what a folder holds, in the order of the file system.
pub fn list(path: &Bytes, reply: &Reply<FileInfo>) -> Result<(), Status> {
    let folder = paths::open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let failed = |errno: Errno| from_errno(errno, &format!("list {}", show(path)));
    for entry in Dir::read_from(&folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        match info::at(&folder, name, name) {
            // Removed meanwhile.
            Err(status) if status.code() == tonic::Code::NotFound => {}
            result => reply.send(result?)?,
        }
    }
    Ok(())
}

/// Stat of a path; a link at its end is not followed.
pub fn stat(path: &[u8]) -> Result<FileInfo, Status> {
    if !path.is_empty() && path.iter().all(|b| *b == b'/') {
        let root = paths::open(path, OFlags::PATH)?;
        let stat = rustix::fs::fstat(&root).map_err(|errno| from_errno(errno, "look at the root"))?;
        return Ok(info::of(path, &stat, Vec::new()));
    }
    let (folder, name) = paths::parent(path)?;
    info::at(&folder, &name, path)
}
