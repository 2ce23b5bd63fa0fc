//! The Machine service: what the host needs of the machine itself. Never offered to tenants.

mod clock;
mod freeze;
mod metrics;
mod shutdown;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status};

use crate::proto::machine_server::Machine;
use crate::proto::{
    AddEntropyRequest, Empty, HelloRequest, HelloResponse, MetricsResponse, QuiesceRequest, SetClockRequest,
    ShutdownRequest,
};
use crate::status::{from_errno, from_io, invalid};

pub use clock::{boottime_us, unix_ms};
pub use metrics::memory_total_bytes;

const CONTRACT: u32 = 1;
const MIN_ENTROPY_BYTES: usize = 32;
const MAX_ENTROPY_BYTES: usize = 4096;

/// What the boot knows about the machine.
pub struct Host {
    pub writable: Option<OwnedFd>,
    pub by_reboot: bool,
    pub init_us: u64,
}

pub struct MachineService {
    writable: Arc<freeze::Writable>,
    by_reboot: bool,
    init_us: u64,
    ready_us: u64,
}

impl MachineService {
    pub fn new(host: Host) -> Arc<Self> {
        let writable = Arc::new(freeze::Writable::new(host.writable));
        let ready_us = boottime_us();
        Arc::new(MachineService { writable, by_reboot: host.by_reboot, init_us: host.init_us, ready_us })
    }
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Machine for MachineService {
    async fn hello(&self, request: Request<HelloRequest>) -> Reply<HelloResponse> {
        let HelloRequest { contract, now_unix_ns, entropy, hostname } = request.into_inner();
        if contract != CONTRACT {
            return Err(Status::failed_precondition(format!("this guest speaks contract {CONTRACT}")));
        }
        check_hostname(&hostname)?;
        add_entropy(&entropy)?;
        clock::set(now_unix_ns)?;
        rustix::system::sethostname(hostname.as_bytes()).map_err(|e| from_errno(e, "set the hostname"))?;
        // Last: only now the machine is one that programs may run in.
        crate::process::hold::release()?;
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Ok(Response::new(HelloResponse {
            contract: CONTRACT,
            agent_version: env!("CARGO_PKG_VERSION").into(),
            kernel_release: rustix::system::uname().release().to_string_lossy().into_owned(),
            init_us: self.init_us,
            ready_us: self.ready_us,
            boot_id: boot_id.trim().into(),
        }))
    }

    async fn metrics(&self, _: Request<Empty>) -> Reply<MetricsResponse> {
        metrics::read().map(Response::new).map_err(|error| from_io(&error, "read the metrics"))
    }

    async fn quiesce(&self, request: Request<QuiesceRequest>) -> Reply<Empty> {
        let max = Duration::from_millis(request.into_inner().max_ms.into());
        self.writable.clone().freeze(max).await?;
        Ok(Response::new(Empty {}))
    }

    async fn thaw(&self, _: Request<Empty>) -> Reply<Empty> {
        self.writable.thaw()?;
        Ok(Response::new(Empty {}))
    }

    async fn hold(&self, _: Request<Empty>) -> Reply<Empty> {
        crate::process::hold::hold().await?;
        Ok(Response::new(Empty {}))
    }

    async fn set_clock(&self, request: Request<SetClockRequest>) -> Reply<Empty> {
        clock::set(request.into_inner().unix_ns)?;
        Ok(Response::new(Empty {}))
    }

    async fn add_entropy(&self, request: Request<AddEntropyRequest>) -> Reply<Empty> {
        add_entropy(&request.into_inner().entropy)?;
        Ok(Response::new(Empty {}))
    }

    async fn shutdown(&self, request: Request<ShutdownRequest>) -> Reply<Empty> {
        let ShutdownRequest { grace_ms, reboot } = request.into_inner();
        let grace = Duration::from_millis(grace_ms.into());
        let _ = self.writable.thaw();
        tokio::spawn(shutdown::run(self.writable.clone(), grace, reboot || self.by_reboot));
        Ok(Response::new(Empty {}))
    }
}

fn check_hostname(name: &str) -> Result<(), Status> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if (1..=63).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    Err(invalid("a hostname is 1 to 63 of a-z, 0-9 and -"))
}

fn add_entropy(bytes: &[u8]) -> Result<(), Status> {
    if !(MIN_ENTROPY_BYTES..=MAX_ENTROPY_BYTES).contains(&bytes.len()) {
        return Err(invalid("entropy is 32 to 4096 bytes"));
    }
    clock::credit_entropy(bytes).map_err(|error| from_io(&error, "add entropy"))
}
