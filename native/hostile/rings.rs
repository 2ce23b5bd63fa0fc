//! Harm to a device that works: descriptors and rings that lie.

use crate::Target;
use crate::machine::pause;
use crate::queue::{Descriptor, INDIRECT, NEXT, Queue, SIZE, WRITE, buffer};

const fn at(address: u64, length: u32, flags: u16, next: u16) -> Descriptor {
    Descriptor { address, length, flags, next }
}

fn tell(target: &Target, queue: &mut Queue, head: u16) {
    queue.offer(head);
    target.device.notify(queue.at);
    pause(2000);
}

/// Chains without an end: to itself, to each other, through the whole table.
pub fn loops(target: &mut Target) {
    target.each_queue(|target, queue| {
        for flags in [NEXT, NEXT | WRITE] {
            queue.describe(0, at(buffer(), 16, flags, 0));
            tell(target, queue, 0);
            queue.describe(0, at(buffer(), 16, NEXT, 1));
            queue.describe(1, at(buffer(), 512, flags, 0));
            tell(target, queue, 0);
            for each in 0..SIZE {
                queue.describe(each, at(buffer(), 64, flags, (each + 1) % SIZE));
            }
            tell(target, queue, 3);
        }
    });
}

/// Buffers where no memory is, at its edge, around the end of all addresses, and in devices.
pub fn addresses(target: &mut Target) {
    let end = target.end;
    let bases = [target.device.base, 0xd000_0000, 0xfee0_0000];
    target.each_queue(|target, queue| {
        for address in
            [end - 1, end - 8, end, end + 1, 1 << 32, 1 << 47, u64::MAX, u64::MAX - 15, 0].iter().chain(&bases)
        {
            for flags in [0, WRITE] {
                queue.send(&[at(*address, 4096, flags, 0)]);
                queue.send(&[at(buffer(), 16, 0, 0), at(*address, 4096, flags, 0), at(buffer(), 1, WRITE, 0)]);
                queue.send(&[at(*address, 16, 0, 0), at(buffer(), 512, flags, 0), at(*address, 1, WRITE, 0)]);
                pause(2000);
            }
        }
        // The rings themselves as what the device writes to.
        queue.send(&[at(queue.memory, 4096, WRITE, 0), at(queue.available(), 8192, WRITE, 0)]);
        let _ = target;
    });
}

/// Nothing, everything, and sums that overflow.
pub fn lengths(target: &mut Target) {
    target.each_queue(|_, queue| {
        for length in [0, 1, 15, 17, 43, 45, 513, 0x7fff_ffff, 0x8000_0000, u32::MAX - 15, u32::MAX] {
            for flags in [0, WRITE] {
                queue.send(&[at(buffer(), length, flags, 0)]);
                queue.send(&[at(buffer(), 16, 0, 0), at(buffer(), length, flags, 0), at(buffer(), 1, WRITE, 0)]);
                queue.send(&[
                    at(buffer(), length, 0, 0),
                    at(buffer(), length, flags, 0),
                    at(buffer(), length, WRITE, 0),
                ]);
                pause(2000);
            }
        }
        let most = [at(buffer(), u32::MAX, WRITE, 0); SIZE as usize];
        queue.send(&most);
    });
}

/// Tables in tables, tables of odd lengths, tables that are the ring.
pub fn indirect(target: &mut Target) {
    target.each_queue(|target, queue| {
        for length in [0, 8, 16, 17, 4096, u32::MAX] {
            for table in [queue.table(), queue.memory, target.end, u64::MAX - 15] {
                queue.describe_at(queue.table(), at(queue.table(), 16, INDIRECT | NEXT, 0));
                queue.describe(0, at(table, length, INDIRECT, 0));
                tell(target, queue, 0);
                queue.describe(0, at(table, length, INDIRECT | NEXT | WRITE, 0));
                tell(target, queue, 0);
            }
        }
    });
}

/// A chain that goes on outside its table.
pub fn next(target: &mut Target) {
    target.each_queue(|target, queue| {
        for next in [SIZE, SIZE + 1, 255, 256, 0x7fff, u16::MAX] {
            queue.describe(0, at(buffer(), 16, NEXT, next));
            tell(target, queue, 0);
            queue.describe(1, at(buffer(), 512, NEXT | WRITE, next));
            queue.describe(0, at(buffer(), 16, NEXT, 1));
            tell(target, queue, 0);
        }
    });
}

/// Heads that are no descriptors.
pub fn entries(target: &mut Target) {
    target.each_queue(|target, queue| {
        for head in [SIZE, SIZE + 1, 255, 256, 0x7fff, 0x8000, u16::MAX] {
            tell(target, queue, head);
        }
    });
}

/// More offered than there is room for, and less than before.
pub fn index(target: &mut Target) {
    target.each_queue(|target, queue| {
        queue.describe(0, at(buffer(), 64, WRITE, 0));
        for ahead in [SIZE, SIZE + 1, SIZE * 2, 0x7fff, 0x8000, u16::MAX] {
            queue.index(queue.offered().wrapping_add(ahead));
            target.device.notify(queue.at);
            pause(5000);
        }
        queue.index(queue.offered().wrapping_sub(1));
        target.device.notify(queue.at);
    });
}

/// All of it by chance.
pub fn random(target: &mut Target) {
    let rounds = target.rounds;
    let end = target.end;
    target.each_queue(|target, queue| {
        for _ in 0..rounds {
            let random = &mut target.random;
            for each in 0..random.below(8) as u16 {
                let somewhere = random.next();
                let address = random.pick(&[buffer(), buffer() + 7, queue.memory, end - 8, end, somewhere, u64::MAX]);
                let chosen = random.next() as u32;
                let length = random.pick(&[0, 1, 16, 44, 512, 4096, 65_536, u32::MAX, chosen % 8192, chosen]);
                let flags = random.below(8) as u16;
                let (near, far) = (random.below(8) as u16, random.next() as u16);
                queue.describe(each, at(address, length, flags, if random.below(8) == 0 { far } else { near }));
            }
            crate::queue::poke(buffer() + random.below(64), random.next());
            let (near, far) = (random.below(8) as u16, random.next() as u16);
            let odd = random.below(32);
            queue.offer(if odd == 0 { far } else { near });
            if odd == 1 {
                queue.index(far);
            }
            let told = if odd == 2 { far.into() } else { queue.at };
            target.device.notify(told);
            if odd == 3 {
                target.device.write(0x100 + target.random.below(64) * 4, far.into());
            }
        }
    });
}
