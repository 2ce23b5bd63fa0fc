//! Time and randomness: what a machine that was just booted or restored has wrong.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use tonic::Status;

use crate::status::{from_errno, invalid};

const NANOS: i64 = 1_000_000_000;
// _IOW('R', 0x03, int[2]) and _IO('R', 0x07) of linux/random.h.
const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;
const RNDRESEEDCRNG: libc::c_ulong = 0x5207;

/// CLOCK_BOOTTIME in microseconds.
pub fn boottime_us() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Sets CLOCK_REALTIME. INVALID_ARGUMENT: before the epoch.
pub fn set(unix_ns: i64) -> Result<(), Status> {
    if unix_ns < 0 {
        return Err(invalid("the time lies before 1970"));
    }
    let time = Timespec { tv_sec: unix_ns / NANOS, tv_nsec: unix_ns % NANOS };
    clock_settime(ClockId::Realtime, time).map_err(|errno| from_errno(errno, "set the clock"))
}

/// Mixes the bytes in, credits them fully, and makes the generator use them at once: without the reseed two clones
/// of one snapshot would give the same numbers for a while.
pub fn credit_entropy(bytes: &[u8]) -> io::Result<()> {
    let device = OpenOptions::new().write(true).open("/dev/urandom")?;
    // struct rand_pool_info { int entropy_count (bits); int buf_size; __u32 buf[]; }
    let mut info: Vec<u32> = vec![bytes.len() as u32 * 8, bytes.len() as u32];
    info.extend(bytes.chunks(4).map(|part| {
        let mut word = [0; 4];
        word[..part.len()].copy_from_slice(part);
        u32::from_ne_bytes(word)
    }));
    ioctl(&device, RNDADDENTROPY, info.as_ptr().cast())?;
    ioctl(&device, RNDRESEEDCRNG, std::ptr::null())
}

fn ioctl(device: &std::fs::File, request: libc::c_ulong, argument: *const libc::c_void) -> io::Result<()> {
    // SAFETY: argument is null or points to a rand_pool_info of the size that it states.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), request as _, argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
