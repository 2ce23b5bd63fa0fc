//! The VM's own channel: one byte stream to the host, over which the host speaks HTTP/2 as client. There is one
//! connection at a time; when it ends, the next one is taken, any number of times.

mod connection;
mod restart;
mod virtio;
mod vsock;

use std::io;

use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

pub use connection::Connection;

/// How the host is reached (`exai.channel=` on the kernel command line).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// The virtio-serial port named `exai.channel.0`.
    VirtioSerial,
    /// Dial this port of the host (CID 2).
    Vsock(u32),
}

/// The host's connections, one after the other. Fails when the channel's device does not exist.
pub fn incoming(channel: Channel) -> io::Result<impl Stream<Item = io::Result<Connection>> + Unpin> {
    // Capacity one: the producer waits for the end of each connection before it makes the next.
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    match channel {
        Channel::VirtioSerial => {
            let port = virtio::Port::open()?;
            tokio::spawn(port.run(sender));
        }
        Channel::Vsock(port) => {
            // Before anybody can ask for a program.
            crate::process::no_vsock::deny();
            tokio::spawn(vsock::run(port, sender));
        }
    }
    Ok(ReceiverStream::new(receiver))
}
