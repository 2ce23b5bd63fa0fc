//! Copies the VMM's output into bounded logs until it has ended. What a guest prints costs a bounded share of a core and
//! of the disk, and the VMM is never held up for longer than one pause.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, splice};
use rustix::time::Timespec;

use crate::relay::Relay;
use crate::ring::{Bucket, Ring};

const BLOCK: usize = 64 << 10;
const PIPE_BYTES: usize = 1 << 20;
/// How long a flood waits in the pipe before it is taken off: 50 turns a second cost nothing.
const PAUSE: Duration = Duration::from_millis(20);

pub struct Stream {
    pipe: Option<File>,
    /// A pipe comes to its end with its writer; a FIFO that the keeper opened for writing as well never does.
    ends: bool,
    ring: Ring,
    bucket: Bucket,
    dropped: u64,
    /// After a flood it is not looked at before then.
    paused: Option<Instant>,
}

impl Stream {
    /// `rate` in bytes a second; a quarter of a second's worth may come at once.
    pub fn new(pipe: OwnedFd, ring: Ring, rate: u32) -> Stream {
        // A larger pipe only makes pauses rarer.
        let _ = fcntl_setpipe_size(&pipe, PIPE_BYTES);
        let bucket = Bucket::new(rate, rate / 4, Instant::now());
        Stream { pipe: Some(pipe.into()), ends: true, ring, bucket, dropped: 0, paused: None }
    }

    /// The reading end of a FIFO that does not block.
    pub fn fifo(fifo: OwnedFd, ring: Ring, rate: u32) -> Stream {
        Stream { ends: false, ..Stream::new(fifo, ring, rate) }
    }

    fn runs(&self) -> bool {
        self.ends && self.pipe.is_some()
    }

    /// Takes what there is, once. @returns whether it was too much
    fn serve(&mut self, null: &File, block: &mut [u8]) -> bool {
        let Some(pipe) = &mut self.pipe else { return false };
        let allowed = self.bucket.available(Instant::now()).min(block.len());
        if allowed < 4096 {
            // To /dev/null in the kernel: a flood is not even copied.
            match splice(&*pipe, None, null, None, PIPE_BYTES, SpliceFlags::empty()) {
                Ok(0) | Err(_) => self.pipe = None,
                Ok(length) => self.dropped += length as u64,
            }
            return true;
        }
        match pipe.read(&mut block[..allowed]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => self.pipe = None,
            Ok(length) => self.keep(&block[..length]),
        }
        false
    }

    /// A full disk costs the guest its output, nothing else.
    fn keep(&mut self, data: &[u8]) {
        if self.dropped > 0 {
            let marker = format!("\n[exai: {} bytes dropped]\n", self.dropped);
            self.dropped = 0;
            let _ = self.ring.write(marker.as_bytes());
        }
        self.bucket.take(data.len());
        if self.ring.write(data).is_err() {
            self.dropped += data.len() as u64;
        }
    }

    fn finish(&mut self) {
        if self.dropped > 0 {
            let _ = self.ring.write(format!("\n[exai: {} bytes dropped]\n", self.dropped).as_bytes());
        }
    }
}

/// Serves logs and relays until every stream that can has come to its end; what is in a FIFO then is still taken. One
/// thread for both: after a new PID namespace was asked for, the kernel makes none (clone(2)).
pub fn pump(mut streams: Vec<Stream>, mut relays: Vec<Relay>, null: &File) {
    let mut block = vec![0; BLOCK];
    while streams.iter().any(Stream::runs) {
        let ready = wait(&mut streams, &relays);
        for (stream, _) in streams.iter_mut().zip(&ready.streams).filter(|(_, ready)| **ready) {
            if stream.serve(null, &mut block) {
                stream.paused = Some(Instant::now() + PAUSE);
            }
        }
        if ready.relays {
            relays.iter_mut().for_each(Relay::serve);
        }
    }
    for stream in streams.iter_mut() {
        if !stream.ends {
            stream.serve(null, &mut block);
        }
        stream.finish();
    }
}

struct Ready {
    streams: Vec<bool>,
    relays: bool,
}

fn wait(streams: &mut [Stream], relays: &[Relay]) -> Ready {
    let now = Instant::now();
    for stream in streams.iter_mut() {
        stream.paused = stream.paused.filter(|until| *until > now);
    }
    let next = streams.iter().filter_map(|stream| stream.paused).min();
    let time = next.and_then(|until| Timespec::try_from(until - now).ok());
    let listened = |stream: &Stream| stream.pipe.is_some() && stream.paused.is_none();
    let mut polled: Vec<PollFd<'_>> = Vec::new();
    for pipe in streams.iter().filter(|stream| listened(stream)).filter_map(|stream| stream.pipe.as_ref()) {
        polled.push(PollFd::new(pipe, PollFlags::IN));
    }
    let of_streams = polled.len();
    relays.iter().for_each(|relay| relay.polled(&mut polled));
    if poll(&mut polled, time.as_ref()).is_err() {
        return Ready { streams: vec![false; streams.len()], relays: false }; // interrupted: the caller comes again
    }
    let mut events = polled.iter().map(|each| !each.revents().is_empty());
    let mut of_streams = events.by_ref().take(of_streams);
    let ready = streams.iter().map(|stream| listened(stream) && of_streams.next().unwrap_or(false)).collect();
    Ready { streams: ready, relays: events.any(|ready| ready) }
}
