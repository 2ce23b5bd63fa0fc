//! A client of the guest over a UNIX socket, as the host has one on the VMM's chardev.

use std::path::Path;

use exai_guest::proto::files_client::FilesClient;
use exai_guest::proto::machine_client::MachineClient;
use exai_guest::proto::output::Event;
use exai_guest::proto::ports_client::PortsClient;
use exai_guest::proto::processes_client::ProcessesClient;
use exai_guest::proto::{Exited, Output, StartRequest};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// One connection with a client for each service.
#[derive(Clone)]
pub struct Client {
    pub processes: ProcessesClient<Channel>,
    pub files: FilesClient<Channel>,
    pub ports: PortsClient<Channel>,
    pub machine: MachineClient<Channel>,
}

impl Client {
    pub async fn dial(path: &Path) -> Self {
        Self::over(UnixStream::connect(path).await.expect("the socket accepts")).await
    }

    pub async fn over(stream: UnixStream) -> Self {
        Self::try_over(stream).await.expect("HTTP/2 starts")
    }

    pub async fn try_dial(path: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        Ok(Self::try_over(UnixStream::connect(path).await?).await?)
    }

    async fn try_over(stream: UnixStream) -> Result<Self, tonic::transport::Error> {
        let mut stream = Some(stream);
        let connector = tower::service_fn(move |_| {
            let stream = stream.take().ok_or(std::io::Error::other("one connection only"));
            async move { stream.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://guest").initial_stream_window_size(1 << 20);
        let endpoint = endpoint.initial_connection_window_size(4 << 20);
        let channel = endpoint.connect_with_connector(connector).await?;
        Ok(Client {
            processes: ProcessesClient::new(channel.clone()),
            files: FilesClient::new(channel.clone()),
            ports: PortsClient::new(channel.clone()),
            machine: MachineClient::new(channel),
        })
    }

    pub async fn run(&mut self, request: StartRequest) -> Result<Finished, Status> {
        let mut stream = self.processes.run(request).await?.into_inner();
        collect(&mut stream).await
    }
}

/// What a process wrote, from the first message to the last.
#[derive(Debug, Default)]
pub struct Finished {
    pub process: u64,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exited: Option<Exited>,
    pub detached: bool,
    /// Bytes that were dropped before they could be read.
    pub lost: u64,
}

pub async fn collect(stream: &mut Streaming<Output>) -> Result<Finished, Status> {
    let mut result = Finished::default();
    let mut next = 0;
    while let Some(output) = stream.message().await? {
        match output.event.expect("an event") {
            Event::Started(started) => result.process = started.process,
            Event::Stdout(chunk) => {
                result.lost += chunk.offset - next;
                next = chunk.offset + chunk.data.len() as u64;
                result.stdout.extend_from_slice(&chunk.data);
            }
            Event::Stderr(chunk) => result.stderr.extend_from_slice(&chunk.data),
            Event::Exited(exited) => result.exited = Some(exited),
            Event::Detached(_) => result.detached = true,
        }
    }
    Ok(result)
}

pub fn command(argv: &[&str]) -> StartRequest {
    let argv = argv.iter().map(|argument| argument.to_string().into()).collect();
    StartRequest { argv, user: "root".into(), ..Default::default() }
}

pub fn shell(script: &str) -> StartRequest {
    command(&["/bin/sh", "-c", script])
}
