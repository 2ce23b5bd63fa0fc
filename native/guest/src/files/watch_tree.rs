//! Which inotify watch stands for which folder. inotify watches single folders; a tree is one watch per folder.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::inotify::{WatchFlags, add_watch, remove_watch};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use tonic::Status;

use super::edit::MAX_DEPTH;
use super::paths;
use crate::status::{from_errno, show};

/// The kernel's memory is about 1 KiB for each.
const MAX_FOLDERS: usize = 8192;

pub struct Watched<'a> {
    inotify: BorrowedFd<'a>,
    root: OwnedFd,
    recursive: bool,
    /// Relative to the root; empty is the root.
    paths: HashMap<i32, Vec<u8>>,
}

impl<'a> Watched<'a> {
    pub fn new(inotify: &'a OwnedFd, path: &[u8], recursive: bool) -> Result<Self, Status> {
        let root = paths::open(path, OFlags::PATH)?;
        let mut watched = Watched { inotify: inotify.as_fd(), root, recursive, paths: HashMap::new() };
        let root = watched.root.try_clone().map_err(|e| crate::status::from_io(&e, "watch"))?;
        watched.add(&root, Vec::new()).map_err(|errno| from_errno(errno, &format!("watch {}", show(path))))?;
        if recursive {
            watched.add_below(Vec::new())?;
        }
        Ok(watched)
    }

    /// The path of an event; None if its folder is not watched any more.
    pub fn path_of(&self, watch: i32, name: &[u8]) -> Option<Vec<u8>> {
        self.paths.get(&watch).map(|folder| join(folder, name))
    }

    /// A new folder: watches it and returns what it holds already, which no event will tell.
    pub fn add_new(&mut self, path: &[u8]) -> Result<Vec<Vec<u8>>, Status> {
        if !self.recursive {
            return Ok(Vec::new());
        }
        match self.open(path) {
            Ok(folder) if self.add(&folder, path.to_vec()).is_ok() => self.add_below(path.to_vec()),
            _ => Ok(Vec::new()),
        }
    }

    /// A folder has another name now; so have those in it.
    pub fn moved(&mut self, from: &[u8], to: &[u8]) {
        for path in self.paths.values_mut() {
            if is_in(path, from) {
                let rest = path.split_off(from.len());
                *path = [to, &rest].concat();
            }
        }
    }

    /// A folder was moved out of the tree: what happens in it is of no interest any more.
    pub fn removed(&mut self, path: &[u8]) {
        let gone: Vec<i32> = self.paths.iter().filter(|(_, at)| is_in(at, path)).map(|(watch, _)| *watch).collect();
        for watch in gone {
            self.paths.remove(&watch);
            let _ = remove_watch(self.inotify, watch);
        }
    }

    /// The kernel dropped a watch. True: it was the root's.
    pub fn forget(&mut self, watch: i32) -> bool {
        self.paths.remove(&watch).is_some_and(|path| path.is_empty())
    }

    fn open(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let rules = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(&self.root, if path.is_empty() { b"." } else { path }, flags, Mode::empty(), rules)
    }

    fn add(&mut self, target: &OwnedFd, path: Vec<u8>) -> rustix::io::Result<()> {
        if self.paths.len() >= MAX_FOLDERS {
            return Err(Errno::NOSPC);
        }
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::MOVE
            | WatchFlags::EXCL_UNLINK;
        // The descriptor's own path is a magic link of ours: it leads to what was opened, and nowhere else.
        let own = format!("/proc/self/fd/{}", target.as_raw_fd());
        let watch = add_watch(self.inotify, own, flags)?;
        self.paths.insert(watch, path);
        Ok(())
    }

    /// Watches all folders below one that is watched, and returns every entry found.
    fn add_below(&mut self, top: Vec<u8>) -> Result<Vec<Vec<u8>>, Status> {
        let mut found = Vec::new();
        let mut todo = vec![top];
        while let Some(path) = todo.pop() {
            for (name, is_folder) in self.entries(&path).unwrap_or_default() {
                let path = join(&path, &name);
                let added = is_folder
                    && path.iter().filter(|b| **b == b'/').count() < MAX_DEPTH
                    && match self.open(&path).and_then(|folder| self.add(&folder, path.clone())) {
                        Err(Errno::NOSPC) => {
                            return Err(Status::resource_exhausted(format!(
                                "more than {MAX_FOLDERS} folders to watch"
                            )));
                        }
                        result => result.is_ok(),
                    };
                if added {
                    todo.push(path.clone());
                }
                // Bounded like the watches: beyond it the client learns of folders only.
                if found.len() < MAX_FOLDERS {
                    found.push(path);
                }
            }
        }
        Ok(found)
    }

    fn entries(&self, path: &[u8]) -> rustix::io::Result<Vec<(Vec<u8>, bool)>> {
        let folder = self.open(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(&folder, ".", flags, Mode::empty())?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                entries.push((name.to_vec(), entry.file_type() == FileType::Directory));
            }
        }
        Ok(entries)
    }
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    match (folder.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (_, true) => folder.to_vec(),
        _ => [folder, b"/", name].concat(),
    }
}

/// Whether `path` is `folder` or lies in it.
fn is_in(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}
