//! Well-formed descriptors with lies in what they carry: what each kind of device makes of its requests.

use crate::Target;
use crate::floods::{Packet, operation};
use crate::machine::pause;
use crate::queue::{Descriptor, Queue, WRITE, buffer, poke};

pub mod kind {
    pub const BLOCK: u32 = 2;
    pub const CONSOLE: u32 = 3;
    pub const ENTROPY: u32 = 4;
    pub const BALLOON: u32 = 5;
    pub const VSOCK: u32 = 19;
}

pub const fn read(address: u64, length: u32) -> Descriptor {
    Descriptor { address, length, flags: 0, next: 0 }
}

pub const fn write(address: u64, length: u32) -> Descriptor {
    Descriptor { address, length, flags: WRITE, next: 0 }
}

/// The queue on which a device answers whatever comes; others may have nothing to say.
pub fn serving(of: u32) -> usize {
    if matches!(of, kind::VSOCK | kind::CONSOLE) { 1 } else { 0 }
}

/// A request that the device has no reason to refuse.
pub fn honest(target: &mut Target, queue: &mut Queue) {
    match target.device.kind {
        kind::BLOCK => block(queue, 0, 0, &[write(buffer() + 4096, 4096)]),
        kind::VSOCK => Packet::new(operation::REQUEST, 1).send(queue),
        kind::BALLOON => {
            poke(buffer(), 0x5000_u32);
            queue.send(&[read(buffer(), 4)]);
        }
        kind::CONSOLE => queue.send(&[read(buffer(), 1)]),
        _ => queue.send(&[write(buffer(), 4096)]),
    }
}

/// Header, data, status (virtio 1.2, section 5.2.6).
fn block(queue: &mut Queue, kind: u32, sector: u64, data: &[Descriptor]) {
    poke(buffer(), u64::from(kind));
    poke(buffer() + 8, sector);
    let mut chain = [write(buffer() + 64, 1); 18];
    chain[0] = read(buffer(), 16);
    let data = &data[..data.len().min(16)];
    chain[1..=data.len()].copy_from_slice(data);
    queue.send(&chain[..data.len() + 2]);
}

pub fn requests(target: &mut Target) {
    target.each_queue(|target, queue| match target.device.kind {
        kind::BLOCK => blocks(target, queue),
        kind::BALLOON => balloon(target, queue),
        kind::VSOCK => packets(target, queue),
        kind::ENTROPY => entropy(queue),
        _ => {}
    });
}

/// Sectors that are not there, unknown kinds, transfers larger than the disk, writes to what is read-only.
fn blocks(target: &mut Target, queue: &mut Queue) {
    let data = buffer() + 4096;
    for kind in [0, 1, 4, 8, 11, 13, 14, 0x8000_0000, u32::MAX] {
        for sector in [0, 1, 1 << 20, 1 << 40, u64::MAX / 512, u64::MAX / 512 + 1, u64::MAX - 1, u64::MAX] {
            for length in [0, 1, 20, 511, 512, 65_536, u32::MAX & !511] {
                block(queue, kind, sector, &[write(data, length)]);
                block(queue, kind, sector, &[read(data, length)]);
            }
        }
        pause(5000);
    }
    block(queue, 0, 0, &[write(data, 512), read(data, 512), write(target.end - 512, 1024)]);
    block(queue, 1, 0, &[read(data, 512); 16]);
    for _ in 0..target.rounds {
        block(queue, 4, 0, &[]);
    }
}

/// Pages that are not the guest's, all of its own, the rings, and this program itself.
fn balloon(target: &mut Target, queue: &mut Queue) {
    for page in [u32::MAX, (target.end >> 12) as u32, 0xd_0000, 0, (queue.memory >> 12) as u32] {
        for count in [1, 255, 256, 257, 65_536] {
            (0..count.min(4096)).for_each(|at| poke(buffer() + at * 4, page.wrapping_add(at as u32)));
            for length in [count * 4, count * 4 - 1, 3] {
                queue.send(&[read(buffer(), length as u32)]);
            }
        }
        pause(5000);
    }
}

/// Headers that lie about length, addresses, credit and state (virtio 1.2, section 5.10.6).
fn packets(target: &mut Target, queue: &mut Queue) {
    for op in [0, 1, 2, 3, 4, 5, 6, 7, 8, u16::MAX] {
        for length in [0, 1, 4096, 65_536, 65_537, u32::MAX] {
            let packet = Packet { length, credit: u32::MAX, ..Packet::new(op, 1) };
            packet.send(queue);
            Packet { from: 2, to: 3, ..packet }.send(queue);
            Packet { to: u64::MAX, kind: u16::MAX, ..packet }.send(queue);
            Packet { credit: 0, forwarded: u32::MAX, to_port: 1024, ..packet }.send(queue);
            Packet { flags: u32::MAX, to_port: u32::MAX, ..packet }.send(queue);
        }
        pause(5000);
    }
    for _ in 0..target.rounds {
        let random = &mut target.random;
        let port = random.below(4) as u32;
        let packet = Packet::new(random.below(9) as u16, port);
        let (length, credit, flags) = (random.next() as u32 % 70_000, random.next() as u32, random.below(4) as u32);
        Packet { length, credit, flags, ..packet }.send(queue);
    }
}

/// More entropy than anybody needs, at once.
fn entropy(queue: &mut Queue) {
    for length in [0, 1, 65_536, 1 << 20, u32::MAX] {
        queue.send(&[write(buffer(), length)]);
        queue.send(&[write(buffer(), length); 60]);
        queue.send(&[read(buffer(), length)]);
        pause(5000);
    }
}
