//! Starts a program: descriptors, clone, the verdict of execve, and the tasks that look after it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};
use tonic::Status;

use super::cgroup::Cgroup;
use super::child::{self, Stdio, Step};
use super::input::{Input, Sink};
use super::output::Output;
use super::record::Record;
use super::ring::Ring;
use super::table::{MAX_SHOWN_ARGV_BYTES, Table};
use super::{spec, terminal};
use crate::descriptor::{non_blocking, register};
use crate::proto::StartRequest;
use crate::reaper::{self, Ended};
use crate::status::{from_errno, show};
use crate::users::{self, User};

const REPLAY_BYTES: u32 = 256 << 10;
const MAX_REPLAY_BYTES: u32 = 4 << 20;
const MIN_REPLAY_BYTES: u32 = 4 << 10;
/// A working folder or program on a file system that does not answer.
const EXECUTES_WITHIN: Duration = Duration::from_secs(30);

type Fd = Arc<AsyncFd<OwnedFd>>;

/// Our ends of the child's descriptors, and the child's.
struct Ends {
    stdout: Fd,
    stderr: Option<Fd>,
    sink: Sink,
    child: [OwnedFd; 3],
    terminal: Option<Fd>,
}

/// Starts the program of `request` and returns when it runs.
pub async fn start(table: &Arc<Table>, request: StartRequest) -> Result<Arc<Record>, Status> {
    spec::check(&request)?;
    let user = users::lookup(&request.user)?;
    let program = spec::program(&request, &user)?;
    let place = table.place()?;
    let ends = ends(&request, user.uid).map_err(|e| crate::status::from_io(&e, "make the process's descriptors"))?;
    let (errors, child_errors) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| from_errno(e, "make a pipe"))?;
    let cgroup = Cgroup::create(place.id);
    let stdio = Stdio { fds: [0, 1, 2].map(|i| ends.child[i].as_raw_fd()), terminal: ends.terminal.is_some() };
    let group = cgroup.as_ref().map(Cgroup::fd);
    let (pid, waiter) = reaper::spawn(|| child::start(&program, &stdio, child_errors.as_raw_fd(), group))
        .map_err(|error| crate::status::from_io(&error, "start the process"))?;
    let began = Instant::now();
    drop(child_errors);
    verdict(errors, pid, &request).await?;
    // The child's copies are the last ones now: their end is the end of the stream.
    drop(ends.child);
    let input = Input::new(ends.sink);
    let ids = (place.id, pid);
    let record = Arc::new(record(table, &request, user, input, ends.terminal, cgroup, ids, began));
    place.fill(record.clone());
    watch_over(table.clone(), record.clone(), ends.stdout, ends.stderr, waiter, &request);
    Ok(record)
}

fn ends(request: &StartRequest, uid: u32) -> io::Result<Ends> {
    if let Some(wanted) = &request.terminal {
        let (master, slave) = terminal::open(wanted, uid)?;
        let master = Arc::new(register(master)?);
        let child = [slave.try_clone()?, slave.try_clone()?, slave];
        let (sink, terminal) = (Sink::Terminal(master.clone()), Some(master.clone()));
        return Ok(Ends { stdout: master, stderr: None, sink, child, terminal });
    }
    let (stdout, child_out) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, child_err) = pipe_with(PipeFlags::CLOEXEC)?;
    let (sink, child_in) = if request.stdin {
        let (child_in, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        (Sink::Pipe(non_blocking(ours)?), child_in)
    } else {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        (Sink::Closed, rustix::fs::open("/dev/null", flags, Mode::empty())?)
    };
    let (stdout, stderr) = (Arc::new(non_blocking(stdout)?), Some(Arc::new(non_blocking(stderr)?)));
    Ok(Ends { stdout, stderr, sink, child: [child_in, child_out, child_err], terminal: None })
}

/// Waits until execve has succeeded, or says why it has not.
async fn verdict(errors: OwnedFd, pid: i32, request: &StartRequest) -> Result<(), Status> {
    let read = async {
        let errors = non_blocking(errors)?;
        let mut message = [0_u8; 8];
        loop {
            let mut guard = errors.readable().await?;
            match rustix::io::read(errors.get_ref(), &mut message) {
                Ok(8) => return Ok(Some(message)),
                Ok(_) => return io::Result::Ok(None),
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    };
    match tokio::time::timeout(EXECUTES_WITHIN, read).await {
        Ok(Ok(None)) => Ok(()),
        Ok(Ok(Some(message))) => Err(refusal(message, request)),
        Ok(Err(error)) => Err(crate::status::from_io(&error, "start the process")),
        Err(_) => {
            // It can't have ended unseen: its end would have closed the pipe.
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            Err(Status::deadline_exceeded("the program or working folder could not be opened in time"))
        }
    }
}

fn refusal(message: [u8; 8], request: &StartRequest) -> Status {
    let [step, _, _, _, a, b, c, d] = message;
    let errno = Errno::from_raw_os_error(i32::from_ne_bytes([a, b, c, d]));
    let what = match step {
        s if s == Step::WorkingFolder as u8 => format!("enter the working folder {}", show(&request.cwd)),
        s if s == Step::Execute as u8 => format!("execute {}", show(&request.argv[0])),
        _ => "prepare the process".to_string(),
    };
    from_errno(errno, &what)
}

#[allow(clippy::too_many_arguments)]
fn record(
    table: &Table,
    request: &StartRequest,
    user: User,
    input: Input,
    terminal: Option<Fd>,
    cgroup: Option<Cgroup>,
    (id, pid): (u64, i32),
    started: Instant,
) -> Record {
    let lifetime = request.lifetime.unwrap_or_default();
    let when_detached = lifetime.when_detached();
    let replay = if request.replay_bytes == 0 { REPLAY_BYTES } else { request.replay_bytes };
    let replay = replay.clamp(MIN_REPLAY_BYTES, MAX_REPLAY_BYTES) as usize;
    let news = Arc::new(watch::Sender::new(()));
    let blocks = when_detached == crate::proto::lifetime::WhenDetached::Block;
    let output = || Arc::new(Output::new(Ring::new(replay, table.budget.clone()), news.clone(), blocks));
    let mut left = MAX_SHOWN_ARGV_BYTES;
    let shown = request.argv.iter().take_while(|argument| {
        left = left.saturating_sub(argument.len() + 1);
        left > 0
    });
    Record {
        id,
        pid,
        // Copied: the bytes share memory with the whole request.
        argv: shown.map(|argument| argument.to_vec().into()).collect(),
        user: user.name,
        tag: request.tag.clone(),
        stdout: output(),
        stderr: request.terminal.is_none().then(output),
        input,
        terminal,
        cgroup: cgroup.into(),
        started,
        started_unix_ms: crate::machine::unix_ms(),
        grace: (lifetime.grace_ms > 0).then(|| Duration::from_millis(lifetime.grace_ms.into())),
        when_detached,
        attached: 0.into(),
        timed_out: false.into(),
        exited: OnceLock::new(),
        ended: watch::Sender::new(false),
        detach: watch::Sender::new(()),
        news,
    }
}

fn watch_over(
    table: Arc<Table>,
    record: Arc<Record>,
    stdout: Fd,
    stderr: Option<Fd>,
    waiter: oneshot::Receiver<Ended>,
    request: &StartRequest,
) {
    let terminal = record.terminal.is_some();
    tokio::spawn(record.stdout.clone().pump(stdout, terminal, record.ended.subscribe()));
    if let (Some(output), Some(fd)) = (&record.stderr, stderr) {
        tokio::spawn(output.clone().pump(fd, false, record.ended.subscribe()));
    }
    let timeout_ms = request.lifetime.unwrap_or_default().timeout_ms;
    if timeout_ms > 0 {
        tokio::spawn(limit_time(record.clone(), Duration::from_millis(timeout_ms)));
    }
    tokio::spawn(async move {
        record.end(waiter.await.ok()).await;
        table.ended(record.id);
        record.release();
    });
}

async fn limit_time(record: Arc<Record>, limit: Duration) {
    let mut ended = record.ended.subscribe();
    if tokio::time::timeout(limit, ended.wait_for(|ended| *ended)).await.is_ok() {
        return;
    }
    record.timed_out.store(true, Ordering::Relaxed);
    record.terminate().await;
}
