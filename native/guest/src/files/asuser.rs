//! Runs a blocking file operation with the rights of a user.
//!
//! Each runs on a thread of its own whose file-system uid, gid and groups are the user's: Linux keeps these per
//! thread, and with a file-system uid other than 0 the kernel takes the thread's file capabilities away, so every
//! check is the kernel's own. A forked helper would do the same for the price of a fork and of copying all bytes
//! through a pipe. The effective uid stays 0, so the user's processes can neither signal nor trace the thread.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::proto::FileContext;
use crate::users::{self, User};

/// At one time; each may hold a thread, a few descriptors and a few chunks.
const MAX_OPERATIONS: usize = 48;
const MAX_WATCHES: usize = 16;

/// Bounds what runs at the same time.
pub struct Limits {
    operations: Arc<Semaphore>,
    watches: Arc<Semaphore>,
}

impl Limits {
    pub fn new() -> Self {
        let limit = |n| Arc::new(Semaphore::new(n));
        Limits { operations: limit(MAX_OPERATIONS), watches: limit(MAX_WATCHES) }
    }

    /// RESOURCE_EXHAUSTED rather than a queue: a client that holds a stream open must not stop the others.
    pub fn operation(&self) -> Result<OwnedSemaphorePermit, Status> {
        let permit = self.operations.clone().try_acquire_owned();
        permit.map_err(|_| Status::resource_exhausted(format!("{MAX_OPERATIONS} file operations run already")))
    }

    /// As `operation`; watches last, so they have places of their own.
    pub fn watch(&self) -> Result<OwnedSemaphorePermit, Status> {
        let permit = self.watches.clone().try_acquire_owned();
        permit.map_err(|_| Status::resource_exhausted(format!("{MAX_WATCHES} watches run already")))
    }
}

/// INVALID_ARGUMENT: there is no such user.
pub fn user_of(context: Option<FileContext>) -> Result<User, Status> {
    users::lookup(&context.unwrap_or_default().user)
}

/// Runs `work` with the user's rights and waits for it. If the caller goes away, it runs on to its end.
pub async fn run<T: Send + 'static>(
    user: User,
    permit: OwnedSemaphorePermit,
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let task = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let _rights = Rights::take(&user)?;
        work()
    });
    task.await.map_err(|error| Status::internal(format!("the file operation failed: {error}")))?
}

/// The thread's file rights, as long as it lives.
struct Rights {
    groups: Vec<u32>,
}

impl Rights {
    fn take(user: &User) -> Result<Self, Status> {
        // SAFETY: with a size of 0 nothing is written; the second call gets a slice of the size that it is told.
        let groups = unsafe {
            let count = libc::syscall(libc::SYS_getgroups, 0, std::ptr::null_mut::<u32>());
            let mut groups = vec![0_u32; count.max(0) as usize];
            libc::syscall(libc::SYS_getgroups, groups.len(), groups.as_mut_ptr());
            groups
        };
        let before = Rights { groups };
        let taken = set_groups(&user.groups) && set_ids(user.uid, user.gid);
        // An early return drops `before` and so restores.
        if taken { Ok(before) } else { Err(Status::internal("the user's rights can't be taken")) }
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        if !(set_ids(0, 0) && set_groups(&self.groups)) {
            // The thread goes back to a pool: with a user's rights it would fail or, worse, mix users.
            std::process::abort();
        }
    }
}

fn set_groups(groups: &[u32]) -> bool {
    // SAFETY: the pointer and the length describe one slice. The raw call changes this thread only.
    unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) == 0 }
}

/// The calls return the id before, so that a second one tells whether the first worked.
fn set_ids(uid: u32, gid: u32) -> bool {
    // SAFETY: no pointers.
    unsafe {
        libc::syscall(libc::SYS_setfsgid, gid);
        libc::syscall(libc::SYS_setfsuid, uid);
        libc::syscall(libc::SYS_setfsgid, gid) as u32 == gid && libc::syscall(libc::SYS_setfsuid, uid) as u32 == uid
    }
}
