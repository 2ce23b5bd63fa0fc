//! A double, for measurements of the host's own work alone: it takes Firecracker's place in the jail and runs no guest. It dials
//! the host as Firecracker does for its guest's agent, answers Hello as that agent would, and waits to be killed; whatever else
//! is asked of it is refused. It takes the arguments of our driver and no others, so that it can't be started by mistake.

use std::io;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use exai_guest::channel::Connection;
use exai_guest::descriptor::register;
use exai_guest::proto::machine_server::{Machine, MachineServer};
use exai_guest::proto::{
    AddEntropyRequest, Empty, HelloRequest, HelloResponse, MetricsResponse, QuiesceRequest, SetClockRequest,
    ShutdownRequest,
};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

const ARGUMENTS: [&str; 4] = ["--config-file", "/vm/config", "--api-sock", "/run/api.sock"];
/// What the configuration must say, and where Firecracker then delivers what its guest dials.
const VSOCK: &str = r#""uds_path":"/run/v.sock""#;
const HOST: &str = "/run/v.sock_1024";

struct NullGuest;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("null-vmm: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    if !std::env::args().skip(1).eq(ARGUMENTS) {
        return Err(io::Error::other(format!("a double of Firecracker; its arguments are {}", ARGUMENTS.join(" "))));
    }
    if !std::fs::read_to_string(ARGUMENTS[1])?.contains(VSOCK) {
        return Err(io::Error::other(format!("{} does not have {VSOCK}", ARGUMENTS[1])));
    }
    println!("null-vmm: a double that runs no guest");
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        loop {
            connection().await?;
        }
    })
}

/// From a connection to the host until its end; like a guest's agent it then dials again.
async fn connection() -> io::Result<()> {
    let host = UnixStream::connect(HOST)?;
    host.set_nonblocking(true)?;
    let (alive, ended) = oneshot::channel();
    let stream = Connection::of_socket(register(Arc::new(host.into()))?, alive);
    tonic::transport::Server::builder()
        .add_service(MachineServer::new(NullGuest))
        .serve_with_incoming(tokio_stream::once(Ok::<_, io::Error>(stream)))
        .await
        .map_err(io::Error::other)?;
    let _ = ended.await;
    Ok(())
}

type Reply<T> = Result<Response<T>, Status>;

fn refused<T>() -> Reply<T> {
    Err(Status::unimplemented("a double that runs no guest"))
}

#[tonic::async_trait]
impl Machine for NullGuest {
    async fn hello(&self, request: Request<HelloRequest>) -> Reply<HelloResponse> {
        let HelloRequest { contract, now_unix_ns, entropy, hostname } = request.into_inner();
        if contract != 1 || now_unix_ns <= 0 || entropy.len() < 32 || hostname.is_empty() {
            return Err(Status::invalid_argument("not the hello of contract 1"));
        }
        Ok(Response::new(HelloResponse {
            contract,
            agent_version: "null-vmm".into(),
            kernel_release: "null-vmm".into(),
            init_us: 0,
            ready_us: 0,
            boot_id: "00000000-0000-4000-8000-000000000000".into(),
        }))
    }
    async fn metrics(&self, _: Request<Empty>) -> Reply<MetricsResponse> {
        refused()
    }
    async fn quiesce(&self, _: Request<QuiesceRequest>) -> Reply<Empty> {
        refused()
    }
    async fn thaw(&self, _: Request<Empty>) -> Reply<Empty> {
        refused()
    }
    async fn hold(&self, _: Request<Empty>) -> Reply<Empty> {
        refused()
    }
    async fn set_clock(&self, _: Request<SetClockRequest>) -> Reply<Empty> {
        refused()
    }
    async fn add_entropy(&self, _: Request<AddEntropyRequest>) -> Reply<Empty> {
        refused()
    }
    async fn shutdown(&self, _: Request<ShutdownRequest>) -> Reply<Empty> {
        refused()
    }
}
