//! Acting on files with somebody else's rights, and telling processes apart.

use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags, openat};

use crate::failure::{At, Failure, Step};

/// While it lives, file operations of this thread are made with this uid and gid and without root's capabilities for
/// files: whatever the folder's owner planted there, it gains nothing that it does not have already.
pub struct AsUser(());

impl AsUser {
    /// Supplementary groups must be empty already.
    pub fn become_user(uid: u32, gid: u32, step: Step) -> Result<AsUser, Failure> {
        let guard = AsUser(());
        // SAFETY: plain system calls. Neither reports errors; a second call with an invalid id answers the current one.
        let (now_uid, now_gid) = unsafe {
            libc::setfsgid(gid);
            libc::setfsuid(uid);
            (libc::setfsuid(u32::MAX), libc::setfsgid(u32::MAX))
        };
        if (now_uid, now_gid) == (uid as i32, gid as i32) {
            return Ok(guard);
        }
        Err(Failure::new(step, format!("can't act as uid {uid}, gid {gid}")))
    }
}

impl Drop for AsUser {
    fn drop(&mut self) {
        // SAFETY: as above. Going back to uid 0 gives back the capabilities for files.
        unsafe {
            libc::setfsuid(0);
            libc::setfsgid(0);
        }
    }
}

/// Start time in clock ticks since boot, field 22 of /proc/PID/stat (proc(5)); None when it has ended.
pub fn start_time(proc: impl AsFd, pid: i32) -> Result<Option<u64>, Failure> {
    let path = format!("{pid}/stat");
    let file = match openat(proc, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(Failure::new(Step::Status, format!("/proc/{path}: {error}"))),
    };
    let mut text = [0u8; 4096];
    let length = match rustix::io::read(&file, &mut text) {
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        other => other.at(Step::Status, &path)?,
    };
    let text = String::from_utf8_lossy(&text[..length]);
    parse_stat(&text).map(|(state, start)| (!matches!(state, 'Z' | 'X')).then_some(start)).at(Step::Status, &path)
}

fn parse_stat(text: &str) -> Result<(char, u64), &'static str> {
    // The name may contain anything, also `)` and spaces: what counts starts after the last `)`.
    let (_, rest) = text.rsplit_once(')').ok_or("no name")?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next().and_then(|word| word.chars().next()).ok_or("no state")?;
    let start = fields.nth(18).and_then(|word| word.parse().ok()).ok_or("no start time")?;
    Ok((state, start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_hostile_name() {
        let text = "7 (a) R 1 1) S 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1";
        assert_eq!(parse_stat(text), Ok(('S', 12345)));
        assert!(parse_stat("7 (a").is_err());
    }

    #[test]
    fn finds_itself() {
        let proc = std::fs::File::open("/proc").expect("/proc");
        assert!(start_time(&proc, std::process::id() as i32).expect("stat").is_some());
        assert!(start_time(&proc, i32::MAX).expect("stat").is_none());
    }
}
