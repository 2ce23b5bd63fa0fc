//! A guest that is hostile to its devices, booted in a kernel's place by tests/kvm and tests/vm. It finds every virtio device of
//! the machine and does one kind of harm to each. What it tries is told on the console before it is tried, so that who
//! watches knows what a VMM died of. Words of the command line: `hostile=NAME`, `from=N` (the device to begin with),
//! `seed=N`, `rounds=N`, `ram=MIB`.
#![no_std]
#![no_main]

/// A line on the console.
#[macro_export]
macro_rules! say {
    ($($argument:tt)*) => {{
        use core::fmt::Write;
        let _ = writeln!($crate::machine::Console, $($argument)*);
    }};
}

mod boot;
mod device;
mod floods;
mod machine;
mod queue;
mod requests;
mod rings;
mod setup;

use device::Device;
use machine::{Random, command_line, pause, reset};
use queue::{MOST_QUEUES, Queue};

/// One device under attack.
pub struct Target {
    pub device: Device,
    pub random: Random,
    /// First address behind the guest's memory.
    pub end: u64,
    pub rounds: u32,
}

impl Target {
    /// Does `harm` to each queue of the device, which works as an honest driver's does until then.
    pub fn each_queue(&mut self, mut harm: impl FnMut(&mut Target, &mut Queue)) {
        let mut queues: [Queue; MOST_QUEUES] = self.device.activate();
        // What is not served would prove nothing by being harmless.
        let serving = &mut queues[requests::serving(self.device.kind)];
        requests::honest(self, serving);
        serving.await_taken();
        say!("hostile: queue {} served {}", serving.at, serving.taken());
        for mut queue in queues.into_iter().filter(Queue::exists) {
            harm(self, &mut queue);
            pause(20_000);
            say!("hostile: queue {} offered {} taken {}", queue.at, queue.offered(), queue.taken());
        }
    }
}

type Attack = (&'static str, fn(&mut Target));

const ATTACKS: &[Attack] = &[
    ("registers", setup::registers),
    ("queue-shapes", setup::queue_shapes),
    ("resets", setup::resets),
    ("loops", rings::loops),
    ("addresses", rings::addresses),
    ("lengths", rings::lengths),
    ("indirect", rings::indirect),
    ("next", rings::next),
    ("ring-entries", rings::entries),
    ("ring-index", rings::index),
    ("random", rings::random),
    ("requests", requests::requests),
    ("storm", floods::storm),
    ("connections", floods::connections),
    ("stream", floods::stream),
    ("console", floods::console),
];

#[unsafe(no_mangle)]
extern "C" fn hostile_main(start_info: u32) -> ! {
    let words = command_line(start_info);
    let word = |name: &str| words.split(' ').rev().find_map(|each| each.strip_prefix(name)?.strip_prefix('='));
    let number = |name: &str, otherwise: u64| word(name).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let wanted = word("hostile").unwrap_or("");
    let Some((name, attack)) = ATTACKS.iter().find(|(name, _)| *name == wanted) else {
        say!("hostile: no attack '{}'", wanted);
        reset();
    };
    let (from, end) = (number("from", 0) as usize, number("ram", 128) << 20);
    Device::each(|device| {
        if device.index < from {
            return;
        }
        say!("hostile: {} device {} type {}", name, device.index, device.kind);
        let random = Random(number("seed", 1) ^ (device.index as u64) << 32);
        attack(&mut Target { device, random, end, rounds: number("rounds", 200) as u32 });
        pause(200_000);
    });
    say!("hostile: end");
    reset()
}

#[panic_handler]
fn panicked(info: &core::panic::PanicInfo) -> ! {
    say!("hostile: {}", info);
    reset()
}
