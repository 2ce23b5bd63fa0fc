//! Copies the VMM's output into bounded logs until it has ended. What a guest prints costs a bounded share of a core and
//! of the disk, and the VMM is never held up for longer than one pause.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, splice};

use crate::ring::{Bucket, Ring};

const BLOCK: usize = 64 << 10;
const PIPE_BYTES: usize = 1 << 20;
/// How long a flood waits in the pipe before it is taken off: 50 turns a second cost nothing.
const PAUSE: Duration = Duration::from_millis(20);

pub struct Stream {
    pipe: Option<File>,
    ring: Ring,
    bucket: Bucket,
    dropped: u64,
}

impl Stream {
    /// `rate` in bytes a second; a quarter of a second's worth may come at once.
    pub fn new(pipe: OwnedFd, ring: Ring, rate: u32) -> Stream {
        // A larger pipe only makes pauses rarer.
        let _ = fcntl_setpipe_size(&pipe, PIPE_BYTES);
        Stream { pipe: Some(pipe.into()), ring, bucket: Bucket::new(rate, rate / 4, Instant::now()), dropped: 0 }
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

/// Returns when every stream has come to its end.
pub fn pump(mut streams: [Stream; 2], null: &File) {
    let mut block = vec![0; BLOCK];
    loop {
        let ready = wait(&streams);
        if streams.iter().all(|stream| stream.pipe.is_none()) {
            break;
        }
        let mut flood = false;
        for (stream, _) in streams.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            flood |= stream.serve(null, &mut block);
        }
        if flood {
            std::thread::sleep(PAUSE);
        }
    }
    streams.iter_mut().for_each(Stream::finish);
}

fn wait(streams: &[Stream; 2]) -> [bool; 2] {
    let open = || streams.iter().enumerate().filter_map(|(at, stream)| Some((at, stream.pipe.as_ref()?)));
    let mut polled: Vec<PollFd<'_>> = open().map(|(_, pipe)| PollFd::new(pipe, PollFlags::IN)).collect();
    let mut ready = [false; 2];
    if polled.is_empty() || poll(&mut polled, None).is_err() {
        return ready; // interrupted: the caller comes again
    }
    for ((at, _), each) in open().zip(&polled) {
        ready[at] = !each.revents().is_empty();
    }
    ready
}
