//! Two connected sockets, joined: what comes from one goes to the other, and the end of one is the end of both. When the
//! outer one ends, that is at once: whoever was there is gone. What the inner one said last is still delivered.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

/// A channel's messages have at most 64 KiB and some bytes.
const BUFFER: usize = 64 << 10;

/// One direction. Nothing is read before what was read last has gone: back-pressure goes through.
struct Half {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    eof: bool,
}

impl Half {
    fn new() -> Half {
        Half { buffer: vec![0; BUFFER].into(), start: 0, end: 0, eof: false }
    }

    fn holds(&self) -> bool {
        self.start < self.end
    }

    fn ended(&self) -> bool {
        self.eof && !self.holds()
    }

    /// @returns false when one of the two is gone
    fn serve(&mut self, mut from: &UnixStream, mut to: &UnixStream) -> bool {
        if !self.holds() && !self.eof {
            match from.read(&mut self.buffer) {
                Ok(0) => self.eof = true,
                Ok(length) => (self.start, self.end) = (0, length),
                Err(error) if waits(&error) => {}
                Err(_) => return false,
            }
        }
        if self.holds() {
            match to.write(&self.buffer[self.start..self.end]) {
                Ok(length) => self.start += length,
                Err(error) if waits(&error) => {}
                Err(_) => return false,
            }
        }
        !self.ended()
    }
}

fn waits(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Its other side has ended, both ways.
pub fn is_gone(stream: &UnixStream) -> bool {
    let mut polled = [PollFd::new(stream, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

pub struct Pair {
    outer: UnixStream,
    inner: UnixStream,
    inwards: Half,
    outwards: Half,
}

impl Pair {
    pub fn new(outer: UnixStream, inner: UnixStream) -> std::io::Result<Pair> {
        outer.set_nonblocking(true)?;
        inner.set_nonblocking(true)?;
        Ok(Pair { outer, inner, inwards: Half::new(), outwards: Half::new() })
    }

    /// @returns false when it has ended
    pub fn serve(&mut self) -> bool {
        !is_gone(&self.outer)
            && self.inwards.serve(&self.outer, &self.inner)
            && self.outwards.serve(&self.inner, &self.outer)
    }

    /// The outer socket always, so that its end is noticed; the inner one only when something is wanted of it, since its
    /// end may have to wait until what it said is delivered.
    pub fn polled(&self) -> impl Iterator<Item = PollFd<'_>> {
        let wanted = |into: &Half, out_of: &Half| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, !into.holds() && !into.eof);
            flags.set(PollFlags::OUT, out_of.holds());
            flags
        };
        let inner = wanted(&self.outwards, &self.inwards);
        let outer = PollFd::new(&self.outer, wanted(&self.inwards, &self.outwards));
        [outer].into_iter().chain((!inner.is_empty()).then(|| PollFd::new(&self.inner, inner)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined() -> (UnixStream, UnixStream, Pair) {
        let ((left, one), (other, right)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        (left, right, Pair::new(one, other).unwrap())
    }

    #[test]
    fn passes_bytes_both_ways_and_ends_with_one_side() {
        let (mut left, mut right, mut pair) = joined();
        left.write_all(b"ping").unwrap();
        right.write_all(b"pong").unwrap();
        assert!(pair.serve());
        let mut got = [0; 4];
        right.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"ping");
        left.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"pong");
        right.write_all(b"last").unwrap();
        drop(right);
        while pair.serve() {}
        drop(pair);
        let mut rest = Vec::new();
        left.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"last");
    }

    #[test]
    fn ends_with_the_outer_side_though_the_inner_one_takes_nothing() {
        let (left, _right, mut pair) = joined();
        left.set_nonblocking(true).unwrap();
        while (&left).write(&[7; 4096]).is_ok() {
            assert!(pair.serve());
        }
        drop(left);
        assert!(!pair.serve());
    }

    #[test]
    fn reads_no_further_than_the_other_side_takes() {
        let (left, _right, mut pair) = joined();
        left.set_nonblocking(true).unwrap();
        let mut sent = 0;
        for _ in 0..1000 {
            while let Ok(length) = (&left).write(&[7; 4096]) {
                sent += length;
            }
            assert!(pair.serve());
        }
        assert!(sent < 2 << 20, "{sent} bytes went into two sockets and a buffer");
    }
}
