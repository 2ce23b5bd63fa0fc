//! The machine itself: ports, the console, the end, and time.

use core::arch::asm;
use core::fmt::{self, Write};

pub fn out(port: u16, value: u8) {
    // SAFETY: a port of the machine's own; nothing of this program's memory is behind it.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack)) };
}

/// The first serial port.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| out(0x3f8, byte));
        Ok(())
    }
}

/// By the keyboard controller; where there is none, by a fault without a handler.
pub fn reset() -> ! {
    out(0x64, 0xfe);
    pause(1 << 20);
    loop {
        // SAFETY: an empty interrupt table makes the next interrupt reset the machine.
        unsafe { asm!("lidt [{0}]", "int3", in(reg) &[0_u64; 2]) };
    }
}

/// Gives the VMM's threads time.
pub fn pause(turns: u32) {
    (0..turns).for_each(|_| core::hint::spin_loop());
}

/// The processor's counter: some billions a second.
pub fn cycles() -> u64 {
    // SAFETY: reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// What the VMM tells a PVH kernel: the command line's address stands at 24 of the structure.
pub fn command_line(start_info: u32) -> &'static str {
    // SAFETY: the VMM wrote both below 4 GiB, which is mapped.
    let bytes = unsafe {
        let text = *((start_info as usize + 24) as *const u64) as *const u8;
        let length = (0..4096).find(|at| *text.add(*at) == 0).unwrap_or(0);
        core::slice::from_raw_parts(text, length)
    };
    core::str::from_utf8(bytes).unwrap_or("")
}

/// A seeded generator (splitmix64), so that a run can be repeated.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}
