//! Streams between async handlers and the threads that do file work.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

pub const CHUNK_BYTES: usize = 64 * 1024;
/// Frames on the way between the two, in either direction.
const AHEAD: usize = 4;

pub type ReplyStream<T> = ReceiverStream<Result<T, Status>>;

/// The thread's end of a reply stream.
pub struct Reply<T>(mpsc::Sender<Result<T, Status>>);

pub fn reply<T>() -> (Reply<T>, ReplyStream<T>) {
    let (sender, receiver) = mpsc::channel(AHEAD);
    (Reply(sender), ReceiverStream::new(receiver))
}

impl<T> Reply<T> {
    /// Waits while the client is slow. CANCELLED: it is gone.
    pub fn send(&self, message: T) -> Result<(), Status> {
        self.0.blocking_send(Ok(message)).map_err(|_| Status::cancelled("the client is gone"))
    }

    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// For the async side: the last message is why it ended.
    pub async fn finish(self, result: Result<(), Status>) {
        if let Err(status) = result {
            let _ = self.0.send(Err(status)).await;
        }
    }

    /// A second handle, so that the result of the thread that owns the first can follow its messages.
    pub fn share(&self) -> Self {
        Reply(self.0.clone())
    }
}

/// The thread's end of a request stream.
pub struct Frames<T>(mpsc::Receiver<Result<T, Status>>);

impl<T: Send + 'static> Frames<T> {
    /// Reads the stream ahead of the thread, by a few frames.
    pub fn of(mut stream: Streaming<T>) -> Self {
        let (sender, receiver) = mpsc::channel(AHEAD);
        tokio::spawn(async move {
            while let Some(frame) = stream.message().await.transpose() {
                let last = frame.is_err();
                if sender.send(frame).await.is_err() || last {
                    return;
                }
            }
        });
        Frames(receiver)
    }

    /// The next frame; None at the stream's good end. CANCELLED and others: the stream broke.
    pub fn next(&mut self) -> Result<Option<T>, Status> {
        self.0.blocking_recv().transpose()
    }
}
