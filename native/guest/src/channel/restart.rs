//! Finds the point where a byte stream turns into a new HTTP/2 connection.
//!
//! A virtio-serial port has no connections of its own. A host that disconnects and comes back before the guest
//! was scheduled, or that is another process after a restored snapshot, shows up as a connection preface in the
//! middle of the old stream. It can only be told apart at a frame boundary: a frame starts with its length in
//! three bytes, and no length that we accept starts with the preface's `P` (0x50: more than 5 MiB).

const PREFACE_BYTES: usize = 24;
const HEADER_BYTES: usize = 9;

/// Follows the frames of one connection.
#[derive(Debug)]
pub struct Tracker {
    /// Bytes of the present preface or payload still to come.
    skip: usize,
    /// Bytes of the present frame header seen so far, and the length that they spell.
    header: usize,
    length: usize,
}

impl Tracker {
    /// Expects the first byte of a connection.
    pub fn new() -> Self {
        Tracker { skip: PREFACE_BYTES, header: 0, length: 0 }
    }

    /// Takes the next bytes. `Some(n)`: byte n is the first of a new connection.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            if self.skip > 0 {
                let step = self.skip.min(bytes.len() - at);
                self.skip -= step;
                at += step;
            } else if self.header == 0 && bytes[at] == b'P' {
                return Some(at);
            } else {
                self.header_byte(bytes[at]);
                at += 1;
            }
        }
        None
    }

    fn header_byte(&mut self, byte: u8) {
        if self.header < 3 {
            self.length = self.length << 8 | usize::from(byte);
        }
        self.header += 1;
        if self.header == HEADER_BYTES {
            *self = Tracker { skip: self.length, header: 0, length: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, (payload.len() >> 8) as u8, payload.len() as u8, 0, 0, 0, 0, 0, 1];
        bytes.extend_from_slice(payload);
        bytes
    }

    fn session() -> Vec<u8> {
        // A payload made of prefaces must not be taken for one.
        [PREFACE.to_vec(), frame(&PREFACE.repeat(40)), frame(b""), frame(b"P")].concat()
    }

    #[test]
    fn ordinary_traffic_has_no_restart_however_it_is_cut() {
        let bytes = session();
        for size in 1..bytes.len() {
            let mut tracker = Tracker::new();
            assert!(bytes.chunks(size).all(|part| tracker.feed(part).is_none()), "cut at {size}");
        }
    }

    #[test]
    fn a_new_preface_at_a_frame_boundary_is_found_at_its_first_byte() {
        let first = session();
        let bytes = [first.clone(), session()].concat();
        assert_eq!(Tracker::new().feed(&bytes), Some(first.len()));
    }
}
