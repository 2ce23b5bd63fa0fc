//! Writes a tree of frames. Nothing is ever written through a link or outside of the root.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use tonic::{Code, Status};

use super::frames::Frames;
use super::write::{NewFile, check_room, temporary_name, times};
use super::{info, paths, tree_path};
use crate::proto::tree_frame::Frame;
use crate::proto::{FileKind, TreeEntry, TreeFrame, TreeRoot, TreeSummary};
use crate::status::{from_errno, invalid, show};

/// Names of folders whose mode and time are set at the end.
const MAX_PENDING_BYTES: usize = 16 << 20;

/// Writes what `frames` (those after `root`) hold below `root.path`. INVALID_ARGUMENT: an entry that leaves the root or
/// that is neither file, folder nor link. DATA_LOSS: the stream ended without its `end` frame, or holds something else
/// than that says. Files that were complete by then stay.
pub fn write_tree(root: &TreeRoot, mut frames: Frames<TreeFrame>) -> Result<TreeSummary, Status> {
    let (above, name) = paths::parent_made(&root.path)?;
    check_room(&above, root.size_bytes)?;
    let mut writer = Writer { above, name, root: None, folders: Vec::new(), pending: 0, done: TreeSummary::default() };
    let mut next = frame(&mut frames)?;
    let end = loop {
        next = match next {
            Frame::Entry(entry) => writer.entry(entry, &mut frames)?,
            Frame::End(end) => break end,
            _ => return Err(invalid("data does not belong to a file")),
        };
    };
    writer.settle_folders()?;
    let got = writer.done;
    let said = TreeSummary { skipped: 0, ..end };
    if said != TreeSummary::default() && said != got {
        return Err(Status::data_loss("the tree's summary does not match what arrived"));
    }
    Ok(got)
}

fn frame(frames: &mut Frames<TreeFrame>) -> Result<Frame, Status> {
    let truncated = || Status::data_loss("the tree is truncated: its end is missing");
    frames.next()?.and_then(|frame| frame.frame).ok_or_else(truncated)
}

struct Writer {
    /// The folder that holds the root, and the root's name in it.
    above: OwnedFd,
    name: Vec<u8>,
    /// Opened when it is known to be a folder.
    root: Option<OwnedFd>,
    folders: Vec<TreeEntry>,
    pending: usize,
    done: TreeSummary,
}

impl Writer {
    /// Writes one entry with its data and returns the frame after it.
    fn entry(&mut self, entry: TreeEntry, frames: &mut Frames<TreeFrame>) -> Result<Frame, Status> {
        let parts: Vec<Vec<u8>> = tree_path::parts(&entry.path)?.into_iter().map(<[u8]>::to_vec).collect();
        let opened;
        let (folder, name) = match parts.split_last() {
            None => (self.above.as_fd(), self.name.clone()),
            Some((name, parents)) => {
                opened = self.parent(parents, &entry.path)?;
                (opened.as_fd(), name.clone())
            }
        };
        let failed = |errno| failed(errno, &entry.path);
        match entry.kind() {
            FileKind::Directory => {
                make_folder(folder, &name).map_err(failed)?;
                self.done.directories += 1;
                self.remember(entry)?;
                frame(frames)
            }
            FileKind::Symlink => {
                if !tree_path::stays_inside(parts.len().saturating_sub(1), &entry.link_target) {
                    return Err(invalid(format!("the link {} leads out of the tree", show(&entry.path))));
                }
                make_link(folder, &name, &entry).map_err(failed)?;
                self.done.links += 1;
                frame(frames)
            }
            FileKind::File => {
                let next = write_file(folder, &name, &entry, frames)?;
                self.done.files += 1;
                self.done.bytes += entry.size_bytes;
                Ok(next)
            }
            _ => Err(invalid(format!("the entry {} is neither file, folder nor link", show(&entry.path)))),
        }
    }

    /// Opens the folder of an entry, without following any link on the way from the root.
    fn parent(&mut self, parents: &[Vec<u8>], shown: &[u8]) -> Result<OwnedFd, Status> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if self.root.is_none() {
            // Without an entry for the root itself, a folder is meant.
            make_folder(&self.above, &self.name).map_err(|errno| failed(errno, b""))?;
            let nofollow = flags | OFlags::NOFOLLOW;
            let root = rustix::fs::openat(&self.above, &self.name[..], nofollow, Mode::empty());
            self.root = Some(root.map_err(|errno| failed(errno, b""))?);
        }
        let Some(root) = &self.root else { return Err(Status::internal("the tree's root is not open")) };
        let path = if parents.is_empty() { b".".to_vec() } else { parents.join(&b'/') };
        let rules = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(root, path, flags, Mode::empty(), rules) {
            Err(Errno::LOOP | Errno::XDEV | Errno::NOENT | Errno::NOTDIR) => {
                Err(invalid(format!("the parent of {} is not a folder of the tree", show(shown))))
            }
            result => result.map_err(|errno| failed(errno, shown)),
        }
    }

    fn remember(&mut self, entry: TreeEntry) -> Result<(), Status> {
        self.pending += entry.path.len() + size_of::<TreeEntry>();
        if self.pending > MAX_PENDING_BYTES {
            return Err(Status::resource_exhausted("the tree has too many folders"));
        }
        // Copied: the bytes share memory with the whole message.
        self.folders.push(TreeEntry { path: entry.path.to_vec().into(), ..entry });
        Ok(())
    }

    /// Modes last, as a folder without write permission could not be filled; innermost first, as times change.
    fn settle_folders(&mut self) -> Result<(), Status> {
        for entry in std::mem::take(&mut self.folders).into_iter().rev() {
            let parts: Vec<Vec<u8>> = tree_path::parts(&entry.path)?.into_iter().map(<[u8]>::to_vec).collect();
            let path = self.parent(&parts, &entry.path)?;
            let settle = || {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let folder = rustix::fs::openat(&path, ".", flags, Mode::empty())?;
                rustix::fs::futimens(&folder, &times(entry.mtime_ns))?;
                rustix::fs::fchmod(&folder, Mode::from_raw_mode(entry.mode & info::MODE_BITS))
            };
            settle().map_err(|errno| failed(errno, &entry.path))?;
        }
        Ok(())
    }
}

/// A folder that exists stays; anything else in its place is an error.
fn make_folder(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<()> {
    match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => {
            let stat = paths::stat_at(&parent, name)?;
            if info::kind(&stat) == FileKind::Directory { Ok(()) } else { Err(Errno::EXIST) }
        }
        result => result,
    }
}

/// Under a temporary name first: an existing file or link is replaced as a whole.
fn make_link(folder: impl AsFd, name: &[u8], entry: &TreeEntry) -> rustix::io::Result<()> {
    let temporary = temporary_name();
    rustix::fs::symlinkat(&entry.link_target[..], &folder, &temporary)?;
    let _ = rustix::fs::utimensat(&folder, &temporary, &times(entry.mtime_ns), AtFlags::SYMLINK_NOFOLLOW);
    let renamed = rustix::fs::renameat(&folder, &temporary, &folder, name);
    if renamed.is_err() {
        let _ = rustix::fs::unlinkat(&folder, &temporary, AtFlags::empty());
    }
    renamed
}

fn write_file(
    folder: impl AsFd,
    name: &[u8],
    entry: &TreeEntry,
    frames: &mut Frames<TreeFrame>,
) -> Result<Frame, Status> {
    let failed = |errno| failed(errno, &entry.path);
    let file = NewFile::create(folder.as_fd()).map_err(failed)?;
    let mut left = entry.size_bytes;
    let next = loop {
        let data = match frame(frames)? {
            Frame::Data(data) if data.len() as u64 <= left => data,
            Frame::Data(_) => return Err(invalid(format!("{} has more data than its size", show(&entry.path)))),
            other if left == 0 => break other,
            _ => return Err(invalid(format!("{} has less data than its size", show(&entry.path)))),
        };
        file.append(&data).map_err(failed)?;
        left -= data.len() as u64;
    };
    file.finish(name, entry.mode, entry.mtime_ns).map_err(failed)?;
    Ok(next)
}

fn failed(errno: Errno, path: &[u8]) -> Status {
    let name = if path.is_empty() { "the tree's root".to_string() } else { show(path) };
    match from_errno(errno, &format!("write {name}")) {
        // A file in a folder's place, or the other way round.
        status if status.code() == Code::NotFound => invalid(status.message()),
        status => status,
    }
}
