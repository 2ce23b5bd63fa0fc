//! The one thing that QEMU's monitor is told from here: a descriptor, which only a message of the kernel's can carry.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::Value;

use crate::failure::{At, Failure, Step};

/// For all that it has to say. A VMM that takes longer holds up its own workspace alone.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST: u64 = 65_536;

pub fn connect(path: &Path) -> Result<UnixStream, Failure> {
    let stream = UnixStream::connect(path).at(Step::Volume, path.display())?;
    stream.set_write_timeout(Some(PATIENCE)).at(Step::Volume, "monitor")?;
    Ok(stream)
}

/// `getfd` (docs/interop/qmp-spec.txt): QEMU keeps it under that name until it is used, also when this connection ends.
pub fn pass(stream: UnixStream, file: &OwnedFd) -> Result<(), Failure> {
    let mut answers = Answers { stream: stream.try_clone().at(Step::Volume, "monitor")?, held: Vec::new(), total: 0 };
    let until = Instant::now() + PATIENCE;
    answers.until("QMP", until)?;
    send(&stream, b"{\"execute\":\"qmp_capabilities\"}\n", None)?;
    answers.until("return", until)?;
    send(&stream, b"{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"snapshot\"}}\n", Some(file))?;
    answers.until("return", until)
}

fn send(stream: &UnixStream, text: &[u8], file: Option<&OwnedFd>) -> Result<(), Failure> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = file.map(|file| [file.as_fd()]);
    if let Some(descriptors) = &descriptors {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let sent = sendmsg(stream, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL).at(Step::Volume, "monitor")?;
    if sent == text.len() { Ok(()) } else { Err(Failure::new(Step::Volume, "the monitor takes no command")) }
}

/// What QEMU says, line by line. It may be in a guest's hands: little is taken, and not for long.
struct Answers {
    stream: UnixStream,
    held: Vec<u8>,
    total: u64,
}

impl Answers {
    /// Up to a line with this member; events between are let pass.
    fn until(&mut self, member: &str, until: Instant) -> Result<(), Failure> {
        loop {
            let line = self.line(until)?;
            let value: Value = serde_json::from_slice(&line).at(Step::Volume, "the monitor does not speak QMP")?;
            if value.get(member).is_some() {
                return Ok(());
            }
            if value.get("error").is_some() {
                return Err(Failure::new(Step::Volume, "QEMU does not take the volume"));
            }
        }
    }

    fn line(&mut self, until: Instant) -> Result<Vec<u8>, Failure> {
        loop {
            if let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
                let rest = self.held.split_off(end + 1);
                return Ok(std::mem::replace(&mut self.held, rest));
            }
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).at(Step::Volume, "monitor")?;
            let mut chunk = [0; 4096];
            let count = self.stream.read(&mut chunk).at(Step::Volume, "monitor")?;
            self.total += count as u64;
            if count == 0 || self.total > LONGEST || Instant::now() > until {
                return Err(Failure::new(Step::Volume, "the monitor ends, or says too much"));
            }
            self.held.extend_from_slice(&chunk[..count]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    fn answered(text: &'static [u8]) -> Result<(), Failure> {
        let (ours, mut theirs) = UnixStream::pair().expect("pair");
        theirs.write_all(text).expect("write");
        theirs.shutdown(std::net::Shutdown::Write).expect("shutdown");
        let file = OwnedFd::from(std::fs::File::open("/dev/null").expect("null"));
        pass(ours, &file)
    }

    #[test]
    fn a_monitor_that_lies_is_an_error() {
        for text in [&b"hello\n"[..], b"{\"QMP\":{}}\n{\"error\":{}}\n", b"{\"QMP\":{}}\n{\"return\":{}}\n", b""] {
            assert_eq!(answered(text).expect_err("refused").step, Step::Volume);
        }
        answered(b"{\"QMP\":{}}\n{\"event\":\"X\"}\n{\"return\":{}}\n{\"return\":{}}\n").expect("passed");
    }

    #[test]
    fn the_other_side_gets_the_file_itself() {
        use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
        let (ours, theirs) = UnixStream::pair().expect("pair");
        let path = std::env::temp_dir().join(format!("exai-pass-{}", std::process::id()));
        let mut file = std::fs::File::options().read(true).write(true).create_new(true).open(&path).expect("file");
        std::fs::remove_file(&path).expect("unlink");
        send(&ours, b"x", Some(&file.try_clone().expect("clone").into())).expect("send");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0; 1];
        let into = &mut [std::io::IoSliceMut::new(&mut byte)];
        recvmsg(&theirs, into, &mut control, RecvFlags::empty()).expect("recvmsg");
        for message in control.drain() {
            let RecvAncillaryMessage::ScmRights(descriptors) = message else { continue };
            for descriptor in descriptors {
                std::fs::File::from(descriptor).write_all(b"there").expect("write");
            }
        }
        let mut text = String::new();
        file.rewind().expect("rewind");
        file.read_to_string(&mut text).expect("read");
        assert_eq!(text, "there");
    }
}
