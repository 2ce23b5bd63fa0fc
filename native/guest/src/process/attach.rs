//! One client of a process: a task that sends what the rings have, as fast as the client takes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::record::Record;
use crate::proto::lifetime::WhenDetached;
use crate::proto::output::Event;
use crate::proto::{Chunk, Empty, Output, StartResponse};
use crate::status::invalid;

/// Of one process; each holds two chunks at most.
const MAX_CLIENTS: u32 = 64;
/// Messages between the task and HTTP/2's window.
const AHEAD: usize = 2;

static NEXT: AtomicU64 = AtomicU64::new(1);

pub type OutputStream = ReceiverStream<Result<Output, Status>>;

/// A registered client; dropped: gone.
struct Client {
    record: Arc<Record>,
    id: u64,
}

impl Client {
    fn enter(record: Arc<Record>, stdout: u64, stderr: u64) -> Result<Self, Status> {
        let stderr_end = record.stderr.as_ref().map_or(0, |output| output.end());
        if stdout > record.stdout.end() || stderr > stderr_end {
            return Err(invalid("the offset lies beyond the end of the stream"));
        }
        if record.attached.load(Ordering::Relaxed) >= MAX_CLIENTS {
            return Err(Status::resource_exhausted(format!("{MAX_CLIENTS} clients are attached already")));
        }
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        record.attached.fetch_add(1, Ordering::Relaxed);
        record.stdout.enter(id, stdout);
        if let Some(output) = &record.stderr {
            output.enter(id, stderr);
        }
        Ok(Client { record, id })
    }

    /// The next events, at most one per stream.
    fn take(&self) -> Vec<Event> {
        let chunk = |(offset, data): (u64, Vec<u8>)| Chunk { offset, data: data.into() };
        let stdout = self.record.stdout.take(self.id).map(|data| Event::Stdout(chunk(data)));
        let stderr = self.record.stderr.as_ref().and_then(|output| output.take(self.id));
        stdout.into_iter().chain(stderr.map(|data| Event::Stderr(chunk(data)))).collect()
    }

    fn finished(&self) -> bool {
        let mut outputs = [Some(&self.record.stdout), self.record.stderr.as_ref()].into_iter().flatten();
        outputs.all(|output| output.finished(self.id))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.record.stdout.leave(self.id);
        if let Some(output) = &self.record.stderr {
            output.leave(self.id);
        }
        let was_last = self.record.attached.fetch_sub(1, Ordering::Relaxed) == 1;
        let ended = *self.record.ended.borrow();
        if was_last && !ended && self.record.when_detached == WhenDetached::Kill {
            let record = self.record.clone();
            tokio::spawn(async move { record.terminate().await });
        }
    }
}

/// Attaches from the given offsets. With `started`, that event comes first.
pub fn attach(record: Arc<Record>, stdout: u64, stderr: u64, started: bool) -> Result<OutputStream, Status> {
    let news = record.news.subscribe();
    let detach = record.detach.subscribe();
    let client = Client::enter(record, stdout, stderr)?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(serve(client, sender, news, detach, started));
    Ok(ReceiverStream::new(receiver))
}

type Sender = mpsc::Sender<Result<Output, Status>>;

async fn serve(
    client: Client,
    sender: Sender,
    mut news: watch::Receiver<()>,
    mut detach: watch::Receiver<()>,
    started: bool,
) {
    tokio::select! {
        biased;
        _ = sender.closed() => {}
        _ = detach.changed() => {
            // A client that takes nothing does not get to know why either.
            let _ = sender.try_send(Ok(Output { event: Some(Event::Detached(Empty {})) }));
        }
        _ = forward(&client, &sender, &mut news, started) => {}
    }
}

async fn forward(client: &Client, sender: &Sender, news: &mut watch::Receiver<()>, started: bool) -> Option<()> {
    let send = async |event| sender.send(Ok(Output { event: Some(event) })).await.ok();
    if started {
        let (process, pid) = (client.record.id, client.record.pid as u32);
        send(Event::Started(StartResponse { process, pid })).await?;
    }
    loop {
        let events = client.take();
        if events.is_empty() {
            if client.finished() {
                break;
            }
            news.changed().await.ok()?;
        }
        for event in events {
            send(event).await?;
        }
    }
    let exited = client.record.exited.get()?;
    send(Event::Exited(*exited)).await
}
