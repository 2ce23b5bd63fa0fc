//! All processes of this boot that can still be asked for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tonic::Status;

use super::record::Record;
use super::ring::Budget;

/// Alive at one time. The pids limit of user code is far above; this bounds what the agent keeps per process.
pub const MAX_LIVE: usize = 512;
/// Ended processes that can still be asked for their output.
const MAX_ENDED: usize = 256;
/// argv is kept for List, and may be 1 MiB.
pub const MAX_SHOWN_ARGV_BYTES: usize = 4096;

pub struct Table {
    next: AtomicU64,
    inner: Mutex<Inner>,
    pub budget: Arc<Budget>,
}

#[derive(Default)]
struct Inner {
    records: BTreeMap<u64, Arc<Record>>,
    ended: VecDeque<u64>,
    /// Started or being started, and not ended.
    live: usize,
}

/// A place for one live process; dropped without `fill`, it is free again.
pub struct Place<'a> {
    table: &'a Table,
    pub id: u64,
    filled: bool,
}

impl Table {
    pub fn new(replay_bytes: usize) -> Self {
        let budget = Arc::new(Budget::new(replay_bytes));
        Table { next: AtomicU64::new(1), inner: Mutex::default(), budget }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// RESOURCE_EXHAUSTED: too many processes are alive.
    pub fn place(&self) -> Result<Place<'_>, Status> {
        let mut inner = self.lock();
        if inner.live >= MAX_LIVE {
            return Err(Status::resource_exhausted(format!("{MAX_LIVE} started processes are alive already")));
        }
        inner.live += 1;
        Ok(Place { table: self, id: self.next.fetch_add(1, Ordering::Relaxed), filled: false })
    }

    /// NOT_FOUND: never started, or ended too long ago.
    pub fn get(&self, id: u64) -> Result<Arc<Record>, Status> {
        self.lock().records.get(&id).cloned().ok_or_else(|| Status::not_found("there is no such process"))
    }

    pub fn all(&self) -> Vec<Arc<Record>> {
        self.lock().records.values().cloned().collect()
    }

    /// Its record has ended: the oldest ended ones make room.
    pub fn ended(&self, id: u64) {
        let mut inner = self.lock();
        inner.live -= 1;
        inner.ended.push_back(id);
        while inner.ended.len() > MAX_ENDED || (self.budget.is_short() && inner.ended.len() > 1) {
            let oldest = inner.ended.pop_front().and_then(|oldest| inner.records.remove(&oldest));
            if let Some(record) = oldest {
                record.forget_output();
            }
        }
    }
}

impl Place<'_> {
    pub fn fill(mut self, record: Arc<Record>) {
        self.filled = true;
        self.table.lock().records.insert(self.id, record);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.filled {
            self.table.lock().live -= 1;
        }
    }
}
