//! The Ports service: TCP connections to what listens on the guest's loopback.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::proto::port_frame::Frame;
use crate::proto::ports_server::Ports;
use crate::proto::{Empty, PortFrame};
use crate::status::{from_io, invalid};

const MAX_CONNECTIONS: usize = 256;
const CHUNK_BYTES: usize = 64 * 1024;
const AHEAD: usize = 2;
/// A full backlog answers nothing at all.
const CONNECTS_WITHIN: Duration = Duration::from_secs(10);

pub struct PortsService {
    connections: Arc<Semaphore>,
}

impl PortsService {
    pub fn new() -> Arc<Self> {
        Arc::new(PortsService { connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)) })
    }
}

type Sender = mpsc::Sender<Result<PortFrame, Status>>;

#[tonic::async_trait]
impl Ports for PortsService {
    type ConnectStream = ReceiverStream<Result<PortFrame, Status>>;

    async fn connect(&self, request: Request<Streaming<PortFrame>>) -> Result<Response<Self::ConnectStream>, Status> {
        let mut frames = request.into_inner();
        let first = frames.message().await?.and_then(|frame| frame.frame);
        let Some(Frame::Connect(connect)) = first else { return Err(invalid("the first frame is not `connect`")) };
        let port = u16::try_from(connect.port).ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| invalid("a port is 1 to 65535"))?;
        let permit = self.connections.clone().try_acquire_owned();
        let permit =
            permit.map_err(|_| Status::resource_exhausted(format!("{MAX_CONNECTIONS} ports are connected")))?;
        let dial = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        let stream = tokio::time::timeout(CONNECTS_WITHIN, dial).await;
        let stream = stream.map_err(|_| Status::unavailable("the listener does not accept connections"))?;
        let stream = stream.map_err(|error| from_io(&error, &format!("connect to port {port}")))?;
        let _ = stream.set_nodelay(true);
        let (sender, receiver) = mpsc::channel(AHEAD);
        let _ = sender.try_send(Ok(PortFrame { frame: Some(Frame::Connected(Empty {})) }));
        tokio::spawn(carry(stream, frames, sender, permit));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Both directions until both have ended, or one has failed, or the client is gone.
async fn carry(stream: TcpStream, frames: Streaming<PortFrame>, sender: Sender, _permit: OwnedSemaphorePermit) {
    let (reader, writer) = stream.into_split();
    let reply = sender.downgrade();
    // The sending half ends the reply stream as soon as the listener's side has ended: that is the half-close.
    let both = async { tokio::try_join!(upstream(frames, writer), downstream(reader, sender)).map(drop) };
    let client_gone = async {
        while let Some(sender) = reply.upgrade() {
            // Held only for the moment of looking, or it would keep the reply stream open.
            if sender.is_closed() {
                return;
            }
            drop(sender);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        _ = both => {}
        _ = client_gone => {}
    }
}

async fn upstream(mut frames: Streaming<PortFrame>, mut writer: OwnedWriteHalf) -> Result<(), ()> {
    while let Some(frame) = frames.message().await.map_err(drop)? {
        // Anything but data is not part of the protocol any more.
        let Some(Frame::Data(data)) = frame.frame else { return Err(()) };
        writer.write_all(&data).await.map_err(drop)?;
    }
    writer.shutdown().await.map_err(drop)
}

async fn downstream(mut reader: OwnedReadHalf, sender: Sender) -> Result<(), ()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match reader.read(&mut buffer).await {
            Ok(0) => return Ok(()),
            Ok(n) => {
                let frame = Frame::Data(Bytes::copy_from_slice(&buffer[..n]));
                sender.send(Ok(PortFrame { frame: Some(frame) })).await.map_err(drop)?;
            }
            Err(error) => {
                // The receiver must not take a reset for an end.
                let _ = sender.send(Err(Status::aborted(format!("the connection broke: {}", error.kind())))).await;
                return Err(());
            }
        }
    }
}
