//! From the first instruction of PID 1 to the workspace's own root.

mod cmdline;
mod limits;
mod modules;
mod network;
pub mod power;
mod root;

use std::fs;
use std::os::fd::OwnedFd;

pub use cmdline::Cmdline;

use crate::{console, machine};

/// What the rest of the agent needs from the boot.
pub struct Booted {
    pub cmdline: Cmdline,
    /// The writable file system below the root, to freeze it; none when it is a tmpfs.
    pub writable: Option<OwnedFd>,
    /// CLOCK_BOOTTIME in microseconds at the agent's first instruction.
    pub init_us: u64,
}

/// Boots, or powers off after a fatal line. Called once, as PID 1, before there is any thread.
pub fn boot() -> Booted {
    let init_us = machine::boottime_us();
    console::line(concat!("init ", env!("CARGO_PKG_VERSION")));
    match steps(init_us) {
        Ok(booted) => booted,
        Err(sentence) => fail(&sentence),
    }
}

/// The machine can't do its work: says so and switches it off.
pub fn fail(sentence: &str) -> ! {
    console::fatal(sentence);
    power::off(true)
}

fn steps(init_us: u64) -> Result<Booted, String> {
    root::mount_kernel_views("")?;
    modules::load_all()?;
    let text = fs::read_to_string("/proc/cmdline").map_err(|e| format!("/proc/cmdline can't be read: {e}"))?;
    let cmdline = cmdline::parse(&text)?;
    if cmdline.probe {
        console::line("probe ok");
        power::off(cmdline.reboot);
    }
    limits::for_agent();
    let writable = root::switch(&cmdline)?;
    network::loopback_up()?;
    Ok(Booted { cmdline, writable, init_us })
}
