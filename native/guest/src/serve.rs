//! The gRPC server over one connection after the other.

use std::sync::Arc;

use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_stream::Stream;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::Request;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use tower::util::MapRequestLayer;

use crate::files::FilesService;
use crate::machine::MachineService;
use crate::ports::PortsService;
use crate::process::ProcessesService;
use crate::proto::files_server::FilesServer;
use crate::proto::machine_server::MachineServer;
use crate::proto::ports_server::PortsServer;
use crate::proto::processes_server::ProcessesServer;

/// The contract's limit of a message, plus room for its envelope.
const MESSAGE_BYTES: usize = (1 << 20) + 4096;
/// `Attach` streams, transfers and port connections of one host connection.
const STREAMS: u32 = 1024;
/// How much the host may send before a handler takes it: one stream, then all of them together.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Must stay below 5 MiB, see `channel::restart`.
const FRAME_BYTES: u32 = 128 * 1024;

/// The state of the machine; outlives every connection.
#[derive(Clone)]
pub struct Services {
    pub processes: Arc<ProcessesService>,
    pub files: Arc<FilesService>,
    pub ports: Arc<PortsService>,
    pub machine: Arc<MachineService>,
}

/// Serves until `incoming` ends.
pub async fn serve<I, C>(services: Services, incoming: I) -> Result<(), tonic::transport::Error>
where
    I: Stream<Item = std::io::Result<C>>,
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    C::ConnectInfo: Clone + Send + Sync,
{
    Server::builder()
        .layer(MapRequestLayer::new(tell_breaks_from_ends))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .max_concurrent_streams(STREAMS)
        .add_service(ProcessesServer::from_arc(services.processes).max_decoding_message_size(MESSAGE_BYTES))
        .add_service(FilesServer::from_arc(services.files).max_decoding_message_size(MESSAGE_BYTES))
        .add_service(PortsServer::from_arc(services.ports).max_decoding_message_size(MESSAGE_BYTES))
        .add_service(MachineServer::from_arc(services.machine).max_decoding_message_size(MESSAGE_BYTES))
        .serve_with_incoming(incoming)
        .await
}

/// tonic takes a request stream that its client cancelled for one that came to its end; a file would be replaced by
/// its first half. With another status than CANCELLED the handler sees an error.
fn tell_breaks_from_ends(request: Request<Body>) -> Request<Body> {
    request.map(|body| Body::new(body.map_err(|_| Status::aborted("the client broke the stream off"))))
}
