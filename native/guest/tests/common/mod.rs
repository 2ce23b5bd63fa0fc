//! The agent as an ordinary process: its services on one end of a socket pair, a client on the other.
#![allow(dead_code)]

mod client;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use exai_guest::machine::{Host, MachineService};
use exai_guest::serve::{Services, serve};
use exai_guest::{files, ports, process, reaper};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

pub use client::*;

/// A socket as the server takes it.
struct Socket(UnixStream);

impl tonic::transport::server::Connected for Socket {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

type Poll<T> = std::task::Poll<std::io::Result<T>>;
type Context<'a, 'b> = &'a mut std::task::Context<'b>;
type Pin<'a> = std::pin::Pin<&'a mut Socket>;

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<'_>, cx: Context<'_, '_>, buf: &mut ReadBuf<'_>) -> Poll<()> {
        std::pin::Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<'_>, cx: Context<'_, '_>, bytes: &[u8]) -> Poll<usize> {
        std::pin::Pin::new(&mut self.0).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<'_>, cx: Context<'_, '_>) -> Poll<()> {
        std::pin::Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<'_>, cx: Context<'_, '_>) -> Poll<()> {
        std::pin::Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A running agent that takes any number of connections.
pub struct Guest {
    connections: tokio::sync::mpsc::UnboundedSender<std::io::Result<Socket>>,
    pub files: Arc<files::FilesService>,
}

impl Guest {
    pub fn start() -> Self {
        tokio::spawn(reaper::run());
        let files = files::FilesService::new();
        let services = Services {
            processes: process::ProcessesService::new(),
            files: files.clone(),
            ports: ports::PortsService::new(),
            machine: MachineService::new(Host { writable: None, by_reboot: false, init_us: 0 }),
        };
        let (connections, incoming) = tokio::sync::mpsc::unbounded_channel();
        let incoming = tokio_stream::wrappers::UnboundedReceiverStream::new(incoming);
        tokio::spawn(serve(services, incoming));
        Guest { connections, files }
    }

    pub async fn client(&self) -> Client {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        self.connections.send(Ok(Socket(theirs))).expect("the server runs");
        Client::over(ours).await
    }
}

/// A folder of its own, removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: OnceLock<std::sync::atomic::AtomicU64> = OnceLock::new();
        let number = NEXT.get_or_init(Default::default).fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("exai-guest-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn bytes(&self, name: &str) -> bytes::Bytes {
        self.at(name).to_str().expect("UTF-8").trim_end_matches('/').to_string().into()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
