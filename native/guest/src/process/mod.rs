//! The Processes service: starts programs, keeps their last output, and lets clients come and go.

mod attach;
pub mod cgroup;
mod child;
pub mod hold;
mod input;
pub mod no_vsock;
mod output;
mod record;
mod ring;
mod spec;
mod start;
mod table;
mod terminal;

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::proto::processes_server::Processes;
use crate::proto::{
    AttachRequest, Empty, Exited, ListProcessesResponse, ProcessRef, ResizeRequest, SendInputRequest,
    SendInputResponse, SignalRequest, StartRequest, StartResponse,
};
use attach::{OutputStream, attach};
use record::Record;
use table::Table;

pub struct ProcessesService {
    table: Arc<Table>,
}

impl ProcessesService {
    pub fn new() -> Arc<Self> {
        let total = crate::machine::memory_total_bytes().unwrap_or(256 << 20);
        // An eighth of the memory for all that is kept for replay.
        Arc::new(ProcessesService { table: Arc::new(Table::new((total / 8) as usize)) })
    }

    /// Runs to its end even if the caller goes away meanwhile: a process that runs must be in the table.
    async fn begin(&self, request: StartRequest) -> Result<Arc<Record>, Status> {
        hold::refuse_start()?;
        let table = self.table.clone();
        let started = tokio::spawn(async move { start::start(&table, request).await });
        started.await.map_err(|error| Status::internal(format!("the start was not finished: {error}")))?
    }
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Processes for ProcessesService {
    type AttachStream = OutputStream;
    type RunStream = OutputStream;

    async fn start(&self, request: Request<StartRequest>) -> Reply<StartResponse> {
        let record = self.begin(request.into_inner()).await?;
        Ok(Response::new(StartResponse { process: record.id, pid: record.pid as u32 }))
    }

    async fn attach(&self, request: Request<AttachRequest>) -> Reply<OutputStream> {
        let AttachRequest { process, stdout_offset, stderr_offset } = request.into_inner();
        let stream = attach(self.table.get(process)?, stdout_offset, stderr_offset, false)?;
        Ok(Response::new(stream))
    }

    async fn run(&self, request: Request<StartRequest>) -> Reply<OutputStream> {
        let record = self.begin(request.into_inner()).await?;
        Ok(Response::new(attach(record, 0, 0, true)?))
    }

    async fn detach(&self, request: Request<ProcessRef>) -> Reply<Empty> {
        self.table.get(request.into_inner().process)?.detach.send_replace(());
        Ok(Response::new(Empty {}))
    }

    async fn list(&self, _: Request<Empty>) -> Reply<ListProcessesResponse> {
        let processes = self.table.all().iter().map(|record| record.info()).collect();
        Ok(Response::new(ListProcessesResponse { processes }))
    }

    async fn signal(&self, request: Request<SignalRequest>) -> Reply<Empty> {
        let SignalRequest { process, signal, group } = request.into_inner();
        self.table.get(process)?.signal(signal, group)?;
        Ok(Response::new(Empty {}))
    }

    async fn resize(&self, request: Request<ResizeRequest>) -> Reply<Empty> {
        let ResizeRequest { process, rows, columns } = request.into_inner();
        spec::check_window(rows, columns)?;
        let record = self.table.get(process)?;
        let Some(master) = &record.terminal else {
            return Err(Status::failed_precondition("the process has no terminal"));
        };
        terminal::resize(master.get_ref(), rows, columns).map_err(|e| crate::status::from_errno(e, "resize"))?;
        Ok(Response::new(Empty {}))
    }

    async fn send_input(&self, request: Request<SendInputRequest>) -> Reply<SendInputResponse> {
        let SendInputRequest { process, offset, data } = request.into_inner();
        let record = self.table.get(process)?;
        let offset = record.input.send(offset, &data, record.ended.subscribe()).await?;
        Ok(Response::new(SendInputResponse { offset }))
    }

    async fn close_stdin(&self, request: Request<ProcessRef>) -> Reply<Empty> {
        let record = self.table.get(request.into_inner().process)?;
        record.input.close(record.ended.subscribe()).await?;
        Ok(Response::new(Empty {}))
    }

    async fn wait(&self, request: Request<ProcessRef>) -> Reply<Exited> {
        let record = self.table.get(request.into_inner().process)?;
        let mut ended = record.ended.subscribe();
        let _ = ended.wait_for(|ended| *ended).await;
        let exited = record.exited.get().copied();
        exited.map(Response::new).ok_or_else(|| Status::internal("the process's end is unknown"))
    }
}
