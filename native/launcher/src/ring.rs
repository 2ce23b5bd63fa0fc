//! A log of bounded size in two files that are open already: the newest, and the one before it. It needs no right to
//! rename, so it works after every privilege is gone.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::time::Instant;

pub struct Ring {
    newest: File,
    older: File,
    size: u64,
    /// Half of what both files may hold together.
    segment: u64,
}

impl Ring {
    /// Both empty and opened for appending.
    pub fn new(newest: File, older: File, max_bytes: u64) -> Ring {
        Ring { newest, older, size: 0, segment: max_bytes / 2 }
    }

    pub fn write(&mut self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            if self.size >= self.segment {
                self.turn()?;
            }
            let room = (self.segment - self.size).min(data.len() as u64) as usize;
            let (now, rest) = data.split_at(room);
            self.newest.write_all(now)?;
            self.size += room as u64;
            data = rest;
        }
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        self.older.set_len(0)?;
        let mut block = vec![0; 64 << 10];
        let mut at = 0;
        loop {
            let length = self.newest.read_at(&mut block, at)?;
            // The owner of the folder may have changed the file; more than was written is not copied.
            if length == 0 || at >= self.segment {
                break;
            }
            self.older.write_all(&block[..length])?;
            at += length as u64;
        }
        self.newest.set_len(0)?;
        self.size = 0;
        Ok(())
    }
}

/// A token bucket: `rate` bytes a second, at most `burst` at once.
pub struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub fn new(rate: u32, burst: u32, now: Instant) -> Bucket {
        Bucket { rate: rate.into(), burst: burst.into(), tokens: burst.into(), at: now }
    }

    pub fn available(&mut self, now: Instant) -> usize {
        let earned = now.duration_since(self.at).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + earned).min(self.burst);
        self.at = now;
        self.tokens as usize
    }

    pub fn take(&mut self, bytes: usize) {
        self.tokens -= bytes as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::FromRawFd;
    use std::time::Duration;

    fn memory_file() -> File {
        // SAFETY: a fresh descriptor that is owned once.
        let file = unsafe { File::from_raw_fd(libc::memfd_create(c"ring".as_ptr(), 0)) };
        // Appending, as the real ones are.
        // SAFETY: sets a flag of an open descriptor.
        unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&file), libc::F_SETFL, libc::O_APPEND) };
        file
    }

    fn content(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; file.metadata().expect("stat").len() as usize];
        file.read_exact_at(&mut bytes, 0).expect("read");
        bytes
    }

    #[test]
    fn never_holds_more_than_its_bound_and_keeps_the_newest() {
        let (newest, older) = (memory_file(), memory_file());
        let mut ring = Ring::new(newest.try_clone().expect("dup"), older.try_clone().expect("dup"), 2000);
        let all: Vec<u8> = (0..9_973u32).map(|each| (each % 251) as u8).collect();
        for chunk in all.chunks(37) {
            ring.write(chunk).expect("write");
            assert!(content(&newest).len() + content(&older).len() <= 2000);
        }
        let kept = [content(&older), content(&newest)].concat();
        assert!(kept.len() > 1000 && all.ends_with(&kept));
    }

    #[test]
    fn one_write_may_be_larger_than_the_ring() {
        let (newest, older) = (memory_file(), memory_file());
        let mut ring = Ring::new(newest.try_clone().expect("dup"), older, 100);
        ring.write(&[7; 1030]).expect("write");
        assert_eq!(content(&newest).len(), 30);
    }

    #[test]
    fn the_bucket_fills_with_time_only() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1000, 500, start);
        bucket.take(bucket.burst as usize);
        assert_eq!(bucket.available(start), 0);
        assert_eq!(bucket.available(start + Duration::from_millis(100)), 100);
        assert_eq!(bucket.available(start + Duration::from_secs(60)), 500);
    }
}
