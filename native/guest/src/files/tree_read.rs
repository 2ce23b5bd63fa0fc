//! A file, link or whole tree as frames, parents before children. What is neither is counted and left out.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Dir, Mode, OFlags, Stat};
use rustix::io::Errno;
use tonic::Status;

use super::edit::MAX_DEPTH;
use super::frames::{CHUNK_BYTES, Reply};
use super::{info, paths, read};
use crate::proto::tree_frame::Frame;
use crate::proto::{FileKind, TreeEntry, TreeFrame, TreeSummary};
use crate::status::{from_errno, show};

/// A folder on the way down.
struct Level {
    folder: OwnedFd,
    entries: Dir,
    /// Relative to the root.
    path: Vec<u8>,
}

struct Walk<'a> {
    reply: &'a Reply<TreeFrame>,
    summary: TreeSummary,
}

/// Sends all that is at `path`; a link there is sent as a link. ABORTED: a file shrank while it was read.
/// FAILED_PRECONDITION: the tree is deeper than 256 folders.
pub fn read_tree(path: &[u8], reply: &Reply<TreeFrame>) -> Result<(), Status> {
    let mut walk = Walk { reply, summary: TreeSummary::default() };
    let mut levels: Vec<Level> = Vec::new();
    if path.iter().all(|b| *b == b'/') && !path.is_empty() {
        levels.push(walk.root_folder(path)?);
    } else {
        let (folder, name) = paths::parent(path)?;
        levels.extend(walk.visit(folder.as_fd(), &name, Vec::new())?);
    }
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.entries.next() else {
            levels.pop();
            continue;
        };
        let name = entry.map_err(|e| failed(e, &level.path))?.file_name().to_bytes().to_vec();
        if name == b"." || name == b".." {
            continue;
        }
        let path = if level.path.is_empty() { name.clone() } else { [&level.path[..], b"/", &name].concat() };
        let next = walk.visit(level.folder.as_fd(), &name, path)?;
        levels.extend(next);
        if levels.len() > MAX_DEPTH {
            return Err(Status::failed_precondition(format!("the tree is deeper than {MAX_DEPTH} folders")));
        }
    }
    walk.send(Frame::End(walk.summary))
}

impl Walk<'_> {
    fn send(&self, frame: Frame) -> Result<(), Status> {
        self.reply.send(TreeFrame { frame: Some(frame) })
    }

    fn root_folder(&mut self, path: &[u8]) -> Result<Level, Status> {
        let folder = paths::open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let stat = rustix::fs::fstat(&folder).map_err(|errno| failed(errno, path))?;
        self.enter(folder, &stat, Vec::new())
    }

    /// Sends one entry; a folder is returned to be gone through.
    fn visit(&mut self, folder: impl AsFd, name: &[u8], path: Vec<u8>) -> Result<Option<Level>, Status> {
        let stat = match paths::stat_at(&folder, name) {
            // Removed meanwhile; the root itself must exist.
            Err(Errno::NOENT) if !path.is_empty() => return Ok(None),
            result => result.map_err(|errno| failed(errno, &path))?,
        };
        match info::kind(&stat) {
            FileKind::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let opened = rustix::fs::openat(&folder, name, flags, Mode::empty());
                self.enter(opened.map_err(|errno| failed(errno, &path))?, &stat, path).map(Some)
            }
            FileKind::File => self.file(&folder, name, path).map(|()| None),
            FileKind::Symlink => self.link(&folder, name, &stat, path).map(|()| None),
            _ => {
                self.summary.skipped += 1;
                Ok(None)
            }
        }
    }

    fn enter(&mut self, folder: OwnedFd, stat: &Stat, path: Vec<u8>) -> Result<Level, Status> {
        self.summary.directories += 1;
        self.send(Frame::Entry(TreeEntry { size_bytes: 0, ..entry(&path, stat) }))?;
        let entries = Dir::read_from(&folder).map_err(|errno| failed(errno, &path))?;
        Ok(Level { folder, entries, path })
    }

    fn link(&mut self, folder: impl AsFd, name: &[u8], stat: &Stat, path: Vec<u8>) -> Result<(), Status> {
        let target = rustix::fs::readlinkat(folder, name, Vec::new()).map_err(|errno| failed(errno, &path))?;
        self.summary.links += 1;
        self.send(Frame::Entry(TreeEntry {
            size_bytes: 0,
            link_target: target.into_bytes().into(),
            ..entry(&path, stat)
        }))
    }

    fn file(&mut self, folder: impl AsFd, name: &[u8], path: Vec<u8>) -> Result<(), Status> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(folder, name, flags, Mode::empty());
        let file = opened.map_err(|errno| failed(errno, &path))?;
        // What was looked at may have been exchanged for something else.
        let stat = read::regular(&file, &path)?;
        let size = stat.st_size as u64;
        self.send(Frame::Entry(entry(&path, &stat)))?;
        let mut offset = 0;
        // Exactly the size announced: a file that grows meanwhile is cut there.
        while offset < size {
            let mut data = vec![0; CHUNK_BYTES.min((size - offset) as usize)];
            let read = read::read_at(&file, &mut data, offset).map_err(|errno| failed(errno, &path))?;
            if read == 0 {
                return Err(Status::aborted(format!("{} shrank while it was read", show(&path))));
            }
            data.truncate(read);
            offset += read as u64;
            self.send(Frame::Data(data.into()))?;
        }
        self.summary.files += 1;
        self.summary.bytes += size;
        Ok(())
    }
}

fn entry(path: &[u8], stat: &Stat) -> TreeEntry {
    TreeEntry {
        path: path.to_vec().into(),
        kind: info::kind(stat).into(),
        mode: stat.st_mode & info::MODE_BITS,
        size_bytes: stat.st_size as u64,
        mtime_ns: info::mtime_ns(stat),
        link_target: Default::default(),
    }
}

fn failed(errno: Errno, path: &[u8]) -> Status {
    let name = if path.is_empty() { "the tree's root".to_string() } else { show(path) };
    from_errno(errno, &format!("read {name}"))
}
