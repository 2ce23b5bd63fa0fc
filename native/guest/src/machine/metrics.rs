//! Numbers of the whole machine, from /proc and statvfs.

use std::fs;
use std::io;

use crate::proto::MetricsResponse;

/// USER_HZ: fixed for user space on every architecture that we build for.
const TICKS_PER_SECOND: u64 = 100;

/// Total memory that the kernel manages; None outside of Linux's /proc.
pub fn memory_total_bytes() -> Option<u64> {
    field_kib(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

pub fn read() -> io::Result<MetricsResponse> {
    let memory = fs::read_to_string("/proc/meminfo")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let disk = rustix::fs::statvfs("/")?;
    Ok(MetricsResponse {
        uptime_us: super::boottime_us(),
        memory_total_bytes: field_kib(&memory, "MemTotal:").unwrap_or(0),
        memory_available_bytes: field_kib(&memory, "MemAvailable:").unwrap_or(0),
        disk_total_bytes: disk.f_blocks * disk.f_frsize,
        disk_free_bytes: disk.f_bavail * disk.f_frsize,
        cpu_us: cpu_us(&fs::read_to_string("/proc/stat")?),
        processes: processes(&load),
        load1_milli: load1_milli(&load),
    })
}

fn field_kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// User, nice, system, irq and softirq of the first line; steal and guest are not ours.
fn cpu_us(stat: &str) -> u64 {
    let ticks: Vec<u64> = stat.lines().next().unwrap_or("").split_whitespace().skip(1).flat_map(str::parse).collect();
    let sum: u64 = [0, 1, 2, 5, 6].into_iter().filter_map(|place| ticks.get(place)).sum();
    sum * (1_000_000 / TICKS_PER_SECOND)
}

/// "0.20 0.18 0.12 1/80 11206": the number after the slash counts threads of the kernel and of user space.
fn processes(load: &str) -> u32 {
    let counts = load.split_whitespace().nth(3).and_then(|part| part.split_once('/'));
    counts.and_then(|(_, all)| all.parse().ok()).unwrap_or(0)
}

fn load1_milli(load: &str) -> u64 {
    let first: f64 = load.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
    (first * 1000.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_the_kernel_prints() {
        assert_eq!(field_kib("MemTotal:  100 kB\nMemAvailable:   42 kB\n", "MemAvailable:"), Some(43008));
        assert_eq!(cpu_us("cpu  1 2 3 4000 5 6 7 8 0 0\ncpu0 9\n"), 19 * 10_000);
        assert_eq!((processes("0.25 0 0 1/80 11206"), load1_milli("0.25 0 0 1/80 1")), (80, 250));
        assert_eq!((processes(""), load1_milli("x"), cpu_us("")), (0, 0, 0));
    }
}
