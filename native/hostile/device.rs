//! A virtio device on MMIO (virtio 1.2, section 4.2.2).

use core::ptr::{read_volatile, write_volatile};

use crate::queue::{MOST_QUEUES, Queue, SIZE};

/// More are left alone.
pub const MOST_DEVICES: usize = 8;

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
