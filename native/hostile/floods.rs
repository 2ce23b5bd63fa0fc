//! Nothing malformed, only far too much of it.

use crate::Target;
use crate::machine::{Console, pause};
use crate::queue::{BUFFER_BYTES, Queue, SIZE, buffer, poke};
use crate::requests::{kind, read, write};

/// Every queue, those that do not exist as well, told of nothing.
pub fn storm(target: &mut Target) {
    target.device.activate();
    for turn in 0..target.rounds * 100 {
        target.device.notify(if turn % 8 == 7 { turn } else { turn % 4 });
    }
}

/// A header of a vsock packet.
#[derive(Clone, Copy)]
pub struct Packet {
    pub from: u64,
    pub to: u64,
    pub from_port: u32,
    pub to_port: u32,
    pub length: u32,
    pub kind: u16,
    pub operation: u16,
    pub flags: u32,
    pub credit: u32,
    pub forwarded: u32,
}

pub mod operation {
    pub const REQUEST: u16 = 1;
    pub const DATA: u16 = 5;
}

const HEADER: u64 = 44;

impl Packet {
    /// From a port of this guest's to the port where its agent's host listens.
    pub fn new(operation: u16, from_port: u32) -> Packet {
        let all = Packet {
            from: 3,
            to: 2,
            from_port,
            to_port: 1024,
            length: 0,
            kind: 1,
            operation,
            flags: 0,
            credit: 0,
            forwarded: 0,
        };
        Packet { credit: 1 << 20, ..all }
    }

    fn store(&self, at: u64) {
        poke(at, self.from);
        poke(at + 8, self.to);
        poke(at + 16, self.from_port);
        poke(at + 20, self.to_port);
        poke(at + 24, self.length);
        poke(at + 28, self.kind);
        poke(at + 30, self.operation);
        poke(at + 32, self.flags);
        poke(at + 36, self.credit);
        poke(at + 40, self.forwarded);
    }

    /// As large as it says, as far as there is memory.
    pub fn send(&self, queue: &mut Queue) {
        self.store(buffer());
        let length = self.length.min(BUFFER_BYTES as u32 - 4096);
        let chain = [read(buffer(), HEADER as u32), read(buffer() + 64, length)];
        queue.send(&chain[..if length == 0 { 1 } else { 2 }]);
    }
}

/// The vsock with buffers for what the host says, which nobody reads.
struct Socket {
    receive: Queue,
    transmit: Queue,
}

impl Socket {
    fn open(target: &Target) -> Option<Socket> {
        let [receive, transmit, _] = target.device.activate();
        (target.device.kind == kind::VSOCK).then_some(Socket { receive, transmit })
    }

    /// Keeps the host's answers from being waited for.
    fn refill(&mut self, target: &Target) {
        while self.receive.offered().wrapping_sub(self.receive.taken()) < SIZE / 2 {
            let at = self.receive.offered() % SIZE;
            self.receive.describe(at, write(buffer() + (1 << 19) + u64::from(at) * 4096, 4096));
            self.receive.offer(at);
        }
        target.device.notify(0);
    }

    fn send(&mut self, target: &Target, packet: Packet) {
        packet.send(&mut self.transmit);
        // One at a time: the header lies in the same memory each time.
        self.transmit.await_taken();
        self.refill(target);
    }
}

/// As many connections to the host as rounds, thirty-two told of at once, none of them ever closed from here.
pub fn connections(target: &mut Target) {
    let Some(mut socket) = Socket::open(target) else { return };
    for first in (0..target.rounds).step_by(32) {
        for at in 0..32 {
            let header = buffer() + 64 * u64::from(at);
            Packet::new(operation::REQUEST, first + at).store(header);
            socket.transmit.describe(at as u16, read(header, HEADER as u32));
            socket.transmit.offer(at as u16);
        }
        target.device.notify(1);
        socket.transmit.await_taken();
        socket.refill(target);
        if first % 10_000 < 32 {
            say!("hostile: {} connections", first);
        }
    }
    say!("hostile: {} connections in all", target.rounds);
}

/// One connection at a time, and into it all that goes, whatever credit the host gives.
pub fn stream(target: &mut Target) {
    let Some(mut socket) = Socket::open(target) else { return };
    for round in 0..target.rounds {
        if round % 256 == 0 {
            socket.send(target, Packet::new(operation::REQUEST, round));
            pause(20_000);
        }
        let packet = Packet { length: 65_536 - 64, ..Packet::new(operation::DATA, round & !255) };
        socket.send(target, packet);
    }
}

/// Once, whatever the device.
pub fn console(target: &mut Target) {
    use core::fmt::Write;
    if target.device.index > 0 {
        return;
    }
    for _ in 0..target.rounds {
        let _ = Console.write_str("all work and no play makes Jack a dull boy, all work and no play");
    }
}
