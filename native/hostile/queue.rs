//! A split virtqueue (virtio 1.2, section 2.7) in memory of ours, with nothing checked, and the memory that requests lie in.

use core::ptr::{read_volatile, write_volatile};

use crate::device::{Device, MOST_DEVICES};
use crate::machine::{cycles, pause};

pub const MOST_QUEUES: usize = 3;
/// Descriptors, available ring, used ring, a table for indirect descriptors: a page each.
const QUEUE_BYTES: usize = 4 * 4096;
pub const SIZE: u16 = 64;

#[repr(C, align(4096))]
struct Memory([u8; QUEUE_BYTES * MOST_QUEUES * MOST_DEVICES]);
static mut QUEUES: Memory = Memory([0; QUEUE_BYTES * MOST_QUEUES * MOST_DEVICES]);

pub const BUFFER_BYTES: usize = 1 << 20;
#[repr(C, align(4096))]
struct Buffer([u8; BUFFER_BYTES]);
static mut BUFFER: Buffer = Buffer([0; BUFFER_BYTES]);

/// Address of memory that requests may lie in and answers may go to.
pub fn buffer() -> u64 {
    &raw const BUFFER as u64
}

pub fn poke<T>(address: u64, value: T) {
    // SAFETY: only ever an address inside the two areas above, whose content nobody relies on.
    unsafe { write_volatile(address as *mut T, value) };
}

#[derive(Clone, Copy)]
pub struct Descriptor {
    pub address: u64,
    pub length: u32,
    pub flags: u16,
    pub next: u16,
}

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

#[derive(Clone, Copy)]
pub struct Queue {
    device: Device,
    pub at: u32,
    pub memory: u64,
    offered: u16,
}

impl Queue {
    pub fn new(device: Device, at: u32) -> Queue {
        let offset = QUEUE_BYTES * (device.index * MOST_QUEUES + at as usize);
        Queue { device, at, memory: &raw const QUEUES as u64 + offset as u64, offered: 0 }
    }

    pub fn exists(&self) -> bool {
        self.device.write(0x30, self.at);
        self.device.read(0x34) != 0
    }

    pub fn available(&self) -> u64 {
        self.memory + 4096
    }

    pub fn used(&self) -> u64 {
        self.memory + 2 * 4096
    }

    pub fn table(&self) -> u64 {
        self.memory + 3 * 4096
    }

    /// Writes a descriptor; `at` is bounded by the page that holds the table.
    pub fn describe(&self, at: u16, descriptor: Descriptor) {
        self.describe_at(self.memory + u64::from(at % 256) * 16, descriptor);
    }

    pub fn describe_at(&self, to: u64, Descriptor { address, length, flags, next }: Descriptor) {
        poke(to, address);
        poke(to + 8, length);
        poke(to + 12, flags);
        poke(to + 14, next);
    }

    /// Offers the chain that begins with `head`, which may be anything.
    pub fn offer(&mut self, head: u16) {
        poke(self.available() + 4 + u64::from(self.offered % SIZE) * 2, head);
        self.offered = self.offered.wrapping_add(1);
        self.index(self.offered);
    }

    /// Says how much was offered, true or not.
    pub fn index(&self, value: u16) {
        poke(self.available() + 2, value);
    }

    pub fn offered(&self) -> u16 {
        self.offered
    }

    pub fn taken(&self) -> u16 {
        // SAFETY: the used ring lies in memory of ours.
        unsafe { read_volatile((self.used() + 2) as *const u16) }
    }

    /// Until everything that was offered is taken, for some seconds at most.
    pub fn await_taken(&self) {
        let begun = cycles();
        while self.taken() != self.offered && cycles() - begun < 1 << 32 {
            pause(100);
        }
    }

    /// A chain from descriptor 0 on, offered and told of.
    pub fn send(&mut self, chain: &[Descriptor]) {
        for (at, descriptor) in chain.iter().enumerate() {
            let last = at + 1 == chain.len();
            let (flags, next) = if last { (0, 0) } else { (NEXT, at as u16 + 1) };
            self.describe(at as u16, Descriptor { flags: descriptor.flags | flags, next, ..*descriptor });
        }
        self.offer(0);
        self.device.notify(self.at);
    }
}
