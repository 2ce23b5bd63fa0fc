//! PID 1.

use std::process::ExitCode;
use std::time::Duration;

use exai_guest::boot::{self, Booted};
use exai_guest::machine::{Host, MachineService};
use exai_guest::serve::{Services, serve};
use exai_guest::{channel, console, files, ports, process, reaper};

/// Blocking file operations, each on a thread of its own; `files` bounds them further down.
const THREADS: usize = 80;
/// They hold a 64 KiB buffer and shallow frames.
const STACK_BYTES: usize = 256 * 1024;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        console::line("this program is the init of a microVM and runs only as its PID 1");
        return ExitCode::FAILURE;
    }
    // The kernel's own "Attempted to kill init" says nothing about why.
    std::panic::set_hook(Box::new(|info| console::fatal(&format!("panic: {info}"))));
    let booted = boot::boot();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(THREADS)
        .thread_stack_size(STACK_BYTES)
        .thread_keep_alive(Duration::from_secs(2))
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(booted)),
        Err(error) => boot::fail(&format!("the runtime can't be started: {error}")),
    }
}

async fn run(booted: Booted) -> ! {
    let by_reboot = booted.cmdline.reboot;
    tokio::spawn(async {
        if let Err(error) = reaper::run().await {
            boot::fail(&format!("children can't be waited for: {error}"));
        }
    });
    let incoming = match channel::incoming(booted.cmdline.channel) {
        Ok(incoming) => incoming,
        Err(error) => boot::fail(&format!("the channel can't be opened: {error}")),
    };
    let host = Host { writable: booted.writable, by_reboot, init_us: booted.init_us };
    let services = Services {
        processes: process::ProcessesService::new(),
        files: files::FilesService::new(),
        ports: ports::PortsService::new(),
        machine: MachineService::new(host),
    };
    console::line("ready");
    let ended = serve(services, incoming).await;
    boot::fail(&format!("the channel's server ended: {ended:?}"))
}
