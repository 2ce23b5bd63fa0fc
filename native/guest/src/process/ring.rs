//! The last bytes of a stream, for clients that attach later.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A ring may always hold this much, so that a stream makes progress whatever others keep.
const FLOOR: usize = 16 * 1024;

/// Memory of all rings together: a limit on the sum, as most rings stay small.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    pub fn new(limit: usize) -> Self {
        Budget { used: AtomicUsize::new(0), limit }
    }

    pub fn free(&self) -> usize {
        self.limit.saturating_sub(self.used.load(Ordering::Relaxed))
    }

    /// Three quarters are used.
    pub fn is_short(&self) -> bool {
        self.free() < self.limit / 4
    }

    fn add(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    fn sub(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Bytes `start()..end()` of a stream.
#[derive(Debug)]
pub struct Ring {
    bytes: VecDeque<u8>,
    start: u64,
    most: usize,
    budget: std::sync::Arc<Budget>,
}

impl Ring {
    pub fn new(most: usize, budget: std::sync::Arc<Budget>) -> Self {
        Ring { bytes: VecDeque::new(), start: 0, most, budget }
    }

    #[cfg(test)]
    pub fn start(&self) -> u64 {
        self.start
    }

    pub fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// How many bytes it can hold at present.
    pub fn capacity(&self) -> usize {
        self.most.min((self.bytes.len() + self.budget.free()).max(FLOOR))
    }

    /// Appends; the oldest bytes beyond the capacity are dropped.
    pub fn push(&mut self, data: &[u8]) {
        let capacity = self.capacity();
        let kept = &data[data.len().saturating_sub(capacity)..];
        let end = self.end() + data.len() as u64;
        let excess = (self.bytes.len() + kept.len()).saturating_sub(capacity);
        self.bytes.drain(..excess);
        self.bytes.extend(kept);
        self.budget.sub(excess);
        self.budget.add(kept.len());
        self.start = end - self.bytes.len() as u64;
    }

    /// Up to `most` bytes from `offset` on, or from the oldest kept one, with the offset of the first.
    pub fn read(&self, offset: u64, most: usize) -> (u64, Vec<u8>) {
        let from = offset.max(self.start).min(self.end());
        let skip = (from - self.start) as usize;
        let upto = (skip + most).min(self.bytes.len());
        let (front, back) = self.bytes.as_slices();
        let mut data = Vec::with_capacity(upto - skip);
        data.extend_from_slice(&front[skip.min(front.len())..upto.min(front.len())]);
        data.extend_from_slice(&back[skip.saturating_sub(front.len())..upto.saturating_sub(front.len())]);
        (from, data)
    }

    /// Keeps nothing any more, and counts on.
    pub fn close(&mut self) {
        self.start = self.end();
        self.budget.sub(self.bytes.len());
        self.bytes = VecDeque::new();
        self.most = 0;
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// A small generator, so that a failure names its seed.
    fn random(seed: &mut u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    }

    #[test]
    fn behaves_like_the_tail_of_the_whole_stream() {
        for seed in 1..200_u64 {
            let mut state = seed;
            let budget = Arc::new(Budget::new(usize::MAX));
            let most = 1 + (random(&mut state) % 50) as usize;
            let mut ring = Ring::new(most, budget.clone());
            let mut all: Vec<u8> = Vec::new();
            for _ in 0..40 {
                let data: Vec<u8> = (0..random(&mut state) % 80).map(|_| random(&mut state) as u8).collect();
                ring.push(&data);
                all.extend(&data);
                assert_eq!(ring.end(), all.len() as u64, "seed {seed}");
                assert_eq!(ring.start(), all.len().saturating_sub(most) as u64, "seed {seed}");
                let asked = random(&mut state) % (all.len() as u64 + 1);
                let size = (random(&mut state) % 60) as usize;
                let (from, data) = ring.read(asked, size);
                assert_eq!(from, asked.max(ring.start()), "seed {seed}");
                let upto = (from as usize + size).min(all.len());
                assert_eq!(data, all[from as usize..upto], "seed {seed}");
            }
            drop(ring);
            assert_eq!(budget.used.load(Ordering::Relaxed), 0, "seed {seed}");
        }
    }

    #[test]
    fn a_spent_budget_leaves_the_floor() {
        let budget = Arc::new(Budget::new(100_000));
        let mut first = Ring::new(1 << 20, budget.clone());
        first.push(&vec![1; 200_000]);
        assert_eq!(first.end() - first.start(), 100_000);
        let mut second = Ring::new(1 << 20, budget.clone());
        second.push(&vec![2; 50_000]);
        assert_eq!(second.end() - second.start(), FLOOR as u64);
        drop(first);
        assert_eq!(second.capacity(), 100_000);
    }
}
