//! Harm before a device works: registers, states, and queues that can't be.

use crate::Target;
use crate::device::{Device, status};
use crate::machine::{pause, reset};
use crate::queue::{Queue, SIZE};

const ODD: [u32; 10] = [0, 1, 2, 3, 0x7f, 0x80, 0xffff, 0x1_0000, 0x8000_0000, u32::MAX];

/// Every register and the device's configuration, read and written in every state, in an order that no driver has.
pub fn registers(target: &mut Target) {
    let device = target.device;
    for state in [0, 4, 8, 0x80, u32::MAX, status::DRIVER] {
        device.write(0x70, 0);
        device.write(0x70, state);
        for offset in (0..0x140).step_by(4) {
            device.read(offset);
            device.write(offset, target.random.pick(&ODD));
        }
    }
    for _ in 0..target.rounds {
        let offset = target.random.below(0x1000) & !3;
        device.write(offset, target.random.next() as u32);
        device.read(target.random.below(0x200) & !3);
    }
    narrow(device);
}

/// A register is 32 bits wide; other widths and odd addresses are not for it.
fn narrow(device: Device) {
    for offset in [0, 1, 2, 3, 0x50, 0x51, 0x70, 0x71, 0x100, 0x101, 0x107] {
        let at = device.base + offset;
        // SAFETY: device memory, as in `Device`.
        unsafe {
            core::ptr::read_volatile(at as *const u8);
            core::ptr::write_volatile(at as *mut u8, 0xff);
            core::ptr::read_unaligned(at as *const u16);
            core::ptr::write_unaligned(at as *mut u64, u64::MAX);
        }
    }
}

/// Queues of impossible sizes, and rings where no memory is, is not aligned, wraps, or is a device's.
pub fn queue_shapes(target: &mut Target) {
    let device = target.device;
    let end = target.end;
    let places = [0, 1, end - 16, end, device.base, u64::MAX, u64::MAX - 15];
    for size in [0, 1, 3, 257, 0x8000, 0xffff, 0x1_0001, u32::MAX] {
        shape(target, size, |own| own);
    }
    for place in places {
        shape(target, SIZE.into(), |[_, available, used]| [place, available, used]);
        shape(target, SIZE.into(), |[descriptors, _, used]| [descriptors, place, used]);
        shape(target, SIZE.into(), |[descriptors, available, _]| [descriptors, available, place]);
    }
    // All three in one place: the device writes what it then reads.
    shape(target, SIZE.into(), |[own, _, _]| [own, own, own]);
    for _ in 0..target.rounds / 10 {
        let [size, one, two] = [0, 1, 2].map(|_| target.random.pick(&places));
        shape(target, size as u32, |_| [one, two, size]);
    }
}

fn shape(target: &mut Target, size: u32, places: impl FnOnce([u64; 3]) -> [u64; 3]) {
    let device = target.device;
    device.negotiate();
    let own = |queue: &Queue| [queue.memory, queue.available(), queue.used()];
    let queues = device.queues();
    let changed = places(own(&queues[0]));
    for queue in queues.iter().filter(|queue| queue.exists()) {
        let [descriptors, available, used] = if queue.at == 0 { changed } else { own(queue) };
        device.place(queue.at, if queue.at == 0 { size } else { SIZE.into() }, descriptors, available, used);
    }
    device.go();
    for queue in 0..4 {
        device.notify(queue);
    }
    pause(2000);
}

/// A device that is taken away and set up again in the middle of its work, and the machine with it at the end.
pub fn resets(target: &mut Target) {
    for round in 0..target.rounds / 10 {
        target.each_queue(|target, queue| {
            crate::requests::honest(target, queue);
            target.device.write(0x70, 0);
            crate::requests::honest(target, queue);
        });
        if round % 3 == 0 {
            target.device.write(0x70, 0x80);
        }
    }
    if target.random.below(1000) == 0 {
        reset();
    }
}
