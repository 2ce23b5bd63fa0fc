//! The Files service: each call runs on a thread with the rights of the user that it names.

mod asuser;
mod edit;
mod frames;
mod info;
mod paths;
mod read;
mod tree_path;
mod tree_read;
mod tree_write;
mod watch;
mod watch_tree;
mod write;
mod xattr;

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tonic::{Request, Response, Status, Streaming};

use crate::proto::files_server::Files;
use crate::proto::{
    Chunk, Empty, FileContext, FileInfo, MkdirRequest, PathRequest, ReadRequest, RemoveRequest, RenameRequest,
    SetXattrRequest, TreeFrame, TreeSummary, WatchEvent, WatchRequest, WriteRequest, XattrRequest, XattrResponse,
};
use crate::proto::{tree_frame, write_request};
use crate::status::invalid;
use frames::{Frames, Reply as Sender, ReplyStream};

pub struct FilesService {
    limits: asuser::Limits,
}

type Reply<T> = Result<Response<T>, Status>;

impl FilesService {
    pub fn new() -> Arc<Self> {
        Arc::new(FilesService { limits: asuser::Limits::new() })
    }

    async fn once<T: Send + 'static>(
        &self,
        context: Option<FileContext>,
        work: impl FnOnce() -> Result<T, Status> + Send + 'static,
    ) -> Reply<T> {
        let user = asuser::user_of(context)?;
        asuser::run(user, self.limits.operation()?, work).await.map(Response::new)
    }

    /// The reply is a stream that the thread fills; an error is its last message.
    fn streamed<T: Send + 'static>(
        &self,
        context: Option<FileContext>,
        permit: OwnedSemaphorePermit,
        work: impl FnOnce(&Sender<T>) -> Result<(), Status> + Send + 'static,
    ) -> Reply<ReplyStream<T>> {
        let user = asuser::user_of(context)?;
        let (sender, stream) = frames::reply();
        let last = sender.share();
        tokio::spawn(async move { last.finish(asuser::run(user, permit, move || work(&sender)).await).await });
        Ok(Response::new(stream))
    }
}

#[tonic::async_trait]
impl Files for FilesService {
    type ListStream = ReplyStream<FileInfo>;
    type ReadStream = ReplyStream<Chunk>;
    type WatchStream = ReplyStream<WatchEvent>;
    type ReadTreeStream = ReplyStream<TreeFrame>;

    async fn stat(&self, request: Request<PathRequest>) -> Reply<FileInfo> {
        let PathRequest { path, context } = request.into_inner();
        self.once(context, move || read::stat(&path)).await
    }

    async fn list(&self, request: Request<PathRequest>) -> Reply<Self::ListStream> {
        let PathRequest { path, context } = request.into_inner();
        self.streamed(context, self.limits.operation()?, move |reply| read::list(&path, reply))
    }

    async fn read(&self, request: Request<ReadRequest>) -> Reply<Self::ReadStream> {
        let request = request.into_inner();
        self.streamed(request.context.clone(), self.limits.operation()?, move |reply| read::read(&request, reply))
    }

    async fn write(&self, request: Request<Streaming<WriteRequest>>) -> Reply<FileInfo> {
        let mut stream = request.into_inner();
        let first = stream.message().await?.and_then(|frame| frame.frame);
        let Some(write_request::Frame::Open(open)) = first else {
            return Err(invalid("the first frame is not `open`"));
        };
        let frames = Frames::of(stream);
        self.once(open.context.clone(), move || write::write(open, frames)).await
    }

    async fn mkdir(&self, request: Request<MkdirRequest>) -> Reply<FileInfo> {
        let request = request.into_inner();
        self.once(request.context.clone(), move || edit::mkdir(&request)).await
    }

    async fn rename(&self, request: Request<RenameRequest>) -> Reply<Empty> {
        let RenameRequest { from, to, context } = request.into_inner();
        self.once(context, move || edit::rename(&from, &to).map(|()| Empty {})).await
    }

    async fn remove(&self, request: Request<RemoveRequest>) -> Reply<Empty> {
        let RemoveRequest { path, context, recursive } = request.into_inner();
        self.once(context, move || edit::remove(&path, recursive).map(|()| Empty {})).await
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Reply<Self::WatchStream> {
        let WatchRequest { path, context, recursive } = request.into_inner();
        self.streamed(context, self.limits.watch()?, move |reply| watch::watch(&path, recursive, reply))
    }

    async fn get_xattr(&self, request: Request<XattrRequest>) -> Reply<XattrResponse> {
        let request = request.into_inner();
        self.once(request.context.clone(), move || xattr::get(&request)).await
    }

    async fn set_xattr(&self, request: Request<SetXattrRequest>) -> Reply<Empty> {
        let request = request.into_inner();
        self.once(request.context.clone(), move || xattr::set(&request).map(|()| Empty {})).await
    }

    async fn read_tree(&self, request: Request<PathRequest>) -> Reply<Self::ReadTreeStream> {
        let PathRequest { path, context } = request.into_inner();
        self.streamed(context, self.limits.operation()?, move |reply| tree_read::read_tree(&path, reply))
    }

    async fn write_tree(&self, request: Request<Streaming<TreeFrame>>) -> Reply<TreeSummary> {
        let mut stream = request.into_inner();
        let first = stream.message().await?.and_then(|frame| frame.frame);
        let Some(tree_frame::Frame::Root(root)) = first else { return Err(invalid("the first frame is not `root`")) };
        let frames = Frames::of(stream);
        self.once(root.context.clone(), move || tree_write::write_tree(&root, frames)).await
    }
}
