//! A virtio device on MMIO (virtio 1.2, section 4.2.2), and its queues in memory of ours.

use core::ptr::{read_volatile, write_volatile};

use crate::machine::{cycles, pause};

pub const MOST_QUEUES: usize = 3;
const MOST_DEVICES: usize = 8;
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
pub struct Device {
    pub base: u64,
    /// Where it stands among those found: its queues' memory goes by it.
    pub index: usize,
    pub kind: u32,
}

pub mod status {
    pub const ACKNOWLEDGE: u32 = 1;
    pub const DRIVER: u32 = 1 | 2;
    pub const FEATURES_OK: u32 = 8;
    pub const DRIVER_OK: u32 = 4;
}

impl Device {
    /// Every device of the machine: Firecracker has them a page apart from 0xd0000000, QEMU 512 bytes apart.
    pub fn each(mut take: impl FnMut(Device)) {
        let firecracker = (0..16).map(|at| 0xd000_0000 + at * 0x1000);
        let qemu = (0..24).map(|at| 0xfeb0_0000 + at * 0x200);
        let mut index = 0;
        for base in firecracker.chain(qemu) {
            let mut device = Device { base, index, kind: 0 };
            if device.read(0) != 0x7472_6976 || device.read(4) != 2 {
                continue;
            }
            device.kind = device.read(8);
            if device.kind != 0 && index < MOST_DEVICES {
                take(device);
                index += 1;
            }
        }
    }

    pub fn read(&self, offset: u64) -> u32 {
        // SAFETY: device memory; reading changes nothing of ours.
        unsafe { read_volatile((self.base + offset) as *const u32) }
    }

    pub fn write(&self, offset: u64, value: u32) {
        // SAFETY: device memory; what the device then does to ours is what this program is about.
        unsafe { write_volatile((self.base + offset) as *mut u32, value) };
    }

    pub fn write_wide(&self, offset: u64, value: u64) {
        self.write(offset, value as u32);
        self.write(offset + 4, (value >> 32) as u32);
    }

    pub fn notify(&self, queue: u32) {
        self.write(0x50, queue);
    }

    /// Reset, and every feature that is offered taken.
    pub fn negotiate(&self) {
        self.write(0x70, 0);
        // One bit at a time: Firecracker takes no other order.
        self.write(0x70, status::ACKNOWLEDGE);
        self.write(0x70, status::DRIVER);
        for half in 0..2 {
            self.write(0x14, half);
            let offered = self.read(0x10);
            self.write(0x24, half);
            self.write(0x20, offered);
        }
        self.write(0x70, status::DRIVER | status::FEATURES_OK);
    }

    /// Where a queue is said to be. Nothing is checked here.
    pub fn place(&self, queue: u32, size: u32, descriptors: u64, available: u64, used: u64) {
        self.write(0x30, queue);
        self.write(0x38, size);
        self.write_wide(0x80, descriptors);
        self.write_wide(0x90, available);
        self.write_wide(0xa0, used);
        self.write(0x44, 1);
    }

    pub fn go(&self) {
        self.write(0x70, status::DRIVER | status::FEATURES_OK | status::DRIVER_OK);
    }

    pub fn queues(&self) -> [Queue; MOST_QUEUES] {
        [0, 1, 2].map(|at| Queue::new(*self, at))
    }

    /// As an honest driver begins. @returns its queues
    pub fn activate(&self) -> [Queue; MOST_QUEUES] {
        self.negotiate();
        let queues = self.queues();
        for queue in queues.iter().filter(|queue| queue.exists()) {
            self.place(queue.at, SIZE.into(), queue.memory, queue.available(), queue.used());
        }
        self.go();
        queues
    }
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
    fn new(device: Device, at: u32) -> Queue {
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
