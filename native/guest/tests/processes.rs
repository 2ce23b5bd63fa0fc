//! The Processes service against real processes.

mod common;

use std::time::{Duration, Instant};

use common::{Guest, collect, command, shell};
use exai_guest::proto::lifetime::WhenDetached;
use exai_guest::proto::{
    AttachRequest, Empty, EnvVar, Lifetime, ProcessRef, ResizeRequest, SendInputRequest, SignalRequest, StartRequest,
    Terminal,
};
use tokio::test;
use tonic::Code;

#[test]
async fn run_gives_output_exit_code_and_usage() {
    let mut client = Guest::start().client().await;
    let done = client.run(shell("echo out; echo err >&2; exit 7")).await.unwrap();
    assert_eq!((&done.stdout[..], &done.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    let exited = done.exited.unwrap();
    assert_eq!((exited.code, exited.signal, exited.timed_out), (Some(7), None, false));
    assert!(exited.wall_us > 0 && exited.max_rss_bytes > 100_000 && exited.started_unix_ms > 0);
    let killed = client.run(shell("kill -9 $$")).await.unwrap().exited.unwrap();
    assert_eq!((killed.code, killed.signal), (None, Some(9)));
}

#[test]
async fn exec_errors_have_precise_codes() {
    let mut client = Guest::start().client().await;
    let mut code = async |request: StartRequest| client.processes.start(request).await.unwrap_err().code();
    assert_eq!(code(command(&["no-such-program"])).await, Code::NotFound);
    assert_eq!(code(command(&["/no/such/program"])).await, Code::NotFound);
    assert_eq!(code(StartRequest { cwd: "/no/such".into(), ..command(&["true"]) }).await, Code::NotFound);
    assert_eq!(code(command(&["/etc/passwd"])).await, Code::PermissionDenied);
    assert_eq!(code(command(&["/etc"])).await, Code::PermissionDenied);
    assert_eq!(code(command(&[])).await, Code::InvalidArgument);
    assert_eq!(code(command(&["a\0b"])).await, Code::InvalidArgument);
    assert_eq!(code(StartRequest { user: "nobody-here".into(), ..command(&["true"]) }).await, Code::InvalidArgument);
    // A folder that only root may enter.
    let closed = StartRequest { user: "12345".into(), cwd: "/root".into(), ..command(&["true"]) };
    assert_eq!(code(closed).await, Code::PermissionDenied);
}

#[test]
async fn environment_user_and_folder_are_as_asked() {
    let mut client = Guest::start().client().await;
    let env = vec![EnvVar { name: "GREETING".into(), value: "hé".into() }];
    let script =
        "id -u; id -g; echo $GREETING $USER $LANG; pwd; ls -l /proc/self/fd | wc -l; grep SigIgn /proc/self/status";
    let request = StartRequest { user: "4321".into(), cwd: "/usr".into(), env, ..shell(script) };
    let done = client.run(request).await.unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(&lines[..4], &["4321", "4321", "hé 4321 C.UTF-8", "/usr"], "{text}");
    // "total", 0, 1, 2 and the folder itself: nothing of the agent's leaks into a child.
    assert_eq!(lines[4].trim(), "5");
    // Rust ignores SIGPIPE for itself; a shell pipeline needs it.
    let ignored = u64::from_str_radix(lines[5].split_whitespace().last().unwrap(), 16).unwrap();
    assert_eq!(ignored & 1 << 12, 0);
}

#[test]
async fn stdin_is_counted_and_a_repeat_is_harmless() {
    let mut client = Guest::start().client().await;
    let process = client.processes.start(StartRequest { stdin: true, ..command(&["cat"]) }).await.unwrap();
    let process = process.into_inner().process;
    let mut stream =
        client.processes.attach(AttachRequest { process, ..Default::default() }).await.unwrap().into_inner();
    let mut send = async |offset, data: &'static str| {
        let sent = client.processes.send_input(SendInputRequest { process, offset, data: data.into() }).await;
        sent.map(|sent| sent.into_inner().offset).map_err(|status| status.code())
    };
    assert_eq!(send(0, "hello ").await, Ok(6));
    assert_eq!(send(0, "hello ").await, Ok(6));
    assert_eq!(send(3, "lo world").await, Ok(11));
    assert_eq!(send(99, "gap").await, Err(Code::InvalidArgument));
    client.processes.close_stdin(ProcessRef { process }).await.unwrap();
    let closed = client.processes.send_input(SendInputRequest { process, offset: 11, data: "x".into() }).await;
    assert_eq!(closed.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(collect(&mut stream).await.unwrap().stdout, b"hello world");
}

#[test]
async fn a_terminal_is_a_terminal() {
    let mut client = Guest::start().client().await;
    let terminal = Some(Terminal { rows: 33, columns: 101, term: "vt100".into() });
    let script = "stty size; echo $TERM; read line; echo got $line; stty size; tty; echo e >&2";
    let started = client.processes.start(StartRequest { terminal, ..shell(script) }).await.unwrap().into_inner();
    let process = started.process;
    client.processes.resize(ResizeRequest { process, rows: 44, columns: 102 }).await.unwrap();
    let input = SendInputRequest { process, offset: 0, data: "abc\n".into() };
    client.processes.send_input(input).await.unwrap();
    let mut stream =
        client.processes.attach(AttachRequest { process, ..Default::default() }).await.unwrap().into_inner();
    let done = collect(&mut stream).await.unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(text.contains("vt100\r\n") && text.contains("got abc\r\n44 102\r\n/dev/pts/"), "{text:?}");
    assert!(text.ends_with("e\r\n") && done.stderr.is_empty(), "{text:?}");
    assert_eq!(done.exited.unwrap().code, Some(0));
    let plain = client.processes.start(command(&["sleep", "9"])).await.unwrap().into_inner().process;
    let refused = client.processes.resize(ResizeRequest { process: plain, rows: 1, columns: 1 }).await;
    assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
    client.processes.signal(SignalRequest { process: plain, signal: 9, group: true }).await.unwrap();
}

#[test]
async fn clients_come_and_go_and_get_the_rest() {
    let guest = Guest::start();
    let mut first = guest.client().await;
    let process = first.processes.start(shell("echo one; read x < /dev/null; sleep 0.3; echo two")).await.unwrap();
    let process = process.into_inner().process;
    let mut stream =
        first.processes.attach(AttachRequest { process, ..Default::default() }).await.unwrap().into_inner();
    let _ = stream.message().await.unwrap();
    first.processes.detach(ProcessRef { process }).await.unwrap();
    assert!(collect(&mut stream).await.unwrap().detached);
    drop((stream, first));
    // Another connection, from the fourth byte.
    let mut second = guest.client().await;
    let attach = AttachRequest { process, stdout_offset: 4, stderr_offset: 0 };
    let done = collect(&mut second.processes.attach(attach).await.unwrap().into_inner()).await.unwrap();
    assert_eq!((&done.stdout[..], done.exited.unwrap().code), (&b"two\n"[..], Some(0)));
    // It has ended, and can still be read and asked for.
    let again = AttachRequest { process, ..Default::default() };
    let done = collect(&mut second.processes.attach(again).await.unwrap().into_inner()).await.unwrap();
    assert_eq!(done.stdout, b"one\ntwo\n");
    assert_eq!(second.processes.wait(ProcessRef { process }).await.unwrap().into_inner().code, Some(0));
    let list = second.processes.list(Empty {}).await.unwrap().into_inner().processes;
    assert_eq!((list[0].stdout_bytes, list[0].attached, list[0].exited.is_some()), (8, 0, true));
    let beyond = AttachRequest { process, stdout_offset: 9, stderr_offset: 0 };
    assert_eq!(second.processes.attach(beyond).await.unwrap_err().code(), Code::InvalidArgument);
    let unknown = AttachRequest { process: 999, ..Default::default() };
    assert_eq!(second.processes.attach(unknown).await.unwrap_err().code(), Code::NotFound);
}

/// Ten times the ring.
const FLOOD: &str = "dd if=/dev/zero bs=4096 count=160 2>/dev/null; echo end >&2; sleep 30";

fn flood(when_detached: WhenDetached) -> StartRequest {
    let lifetime = Some(Lifetime { when_detached: when_detached.into(), grace_ms: 200, ..Default::default() });
    StartRequest { lifetime, replay_bytes: 65536, ..shell(FLOOD) }
}

async fn sleep(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[test]
async fn without_a_client_the_oldest_bytes_go_and_attach_says_so() {
    let mut client = Guest::start().client().await;
    let process = client.processes.start(flood(WhenDetached::Unspecified)).await.unwrap().into_inner().process;
    sleep(400).await;
    let mut stream =
        client.processes.attach(AttachRequest { process, ..Default::default() }).await.unwrap().into_inner();
    client.processes.signal(SignalRequest { process, signal: 15, group: true }).await.unwrap();
    let done = collect(&mut stream).await.unwrap();
    assert_eq!((done.stdout.len(), done.lost, &done.stderr[..]), (65536, 655360 - 65536, &b"end\n"[..]));
}

#[test]
async fn block_stops_the_process_until_somebody_reads() {
    let mut client = Guest::start().client().await;
    let process = client.processes.start(flood(WhenDetached::Block)).await.unwrap().into_inner().process;
    sleep(400).await;
    let bytes = client.processes.list(Empty {}).await.unwrap().into_inner().processes[0].stdout_bytes;
    assert_eq!(bytes, 65536);
    let mut stream =
        client.processes.attach(AttachRequest { process, ..Default::default() }).await.unwrap().into_inner();
    let killer = async {
        sleep(400).await;
        client.processes.signal(SignalRequest { process, signal: 9, group: true }).await.unwrap();
    };
    let (done, ()) = tokio::join!(collect(&mut stream), killer);
    let done = done.unwrap();
    assert_eq!((done.stdout.len(), done.lost, &done.stderr[..]), (655360, 0, &b"end\n"[..]));
}

#[test]
async fn kill_ends_the_process_with_its_last_client() {
    let mut client = Guest::start().client().await;
    let stream = client.processes.run(flood(WhenDetached::Kill)).await.unwrap().into_inner();
    drop(stream);
    let process = client.processes.list(Empty {}).await.unwrap().into_inner().processes[0].process;
    let exited = client.processes.wait(ProcessRef { process }).await.unwrap().into_inner();
    assert_eq!(exited.signal, Some(15));
}

#[test]
async fn a_slow_client_slows_the_process_and_loses_nothing() {
    let mut client = Guest::start().client().await;
    let request = StartRequest { replay_bytes: 65536, ..shell("dd if=/dev/zero bs=65536 count=512 2>/dev/null") };
    let mut stream = client.processes.run(request).await.unwrap().into_inner();
    sleep(500).await;
    let held = client.processes.list(Empty {}).await.unwrap().into_inner().processes[0].stdout_bytes;
    // 32 MiB are to come; the windows of HTTP/2 and the ring hold a few.
    assert!(held < 8 << 20, "{held}");
    let done = collect(&mut stream).await.unwrap();
    assert_eq!((done.stdout.len(), done.lost), (32 << 20, 0));
}

#[test]
async fn a_timeout_is_term_then_kill() {
    let mut client = Guest::start().client().await;
    let lifetime = Some(Lifetime { timeout_ms: 100, grace_ms: 200, when_detached: 0 });
    let start = Instant::now();
    let stubborn = StartRequest { lifetime, ..shell("trap 'echo no' TERM; while :; do sleep 0.05; done") };
    let done = client.run(stubborn).await.unwrap();
    let exited = done.exited.unwrap();
    assert_eq!((exited.signal, exited.timed_out, &done.stdout[..]), (Some(9), true, &b"no\n"[..]));
    assert!(start.elapsed() < Duration::from_secs(3));
    let quick = client.run(StartRequest { lifetime, ..command(&["true"]) }).await.unwrap().exited.unwrap();
    assert_eq!((quick.code, quick.timed_out), (Some(0), false));
}

#[test]
async fn a_descendant_that_holds_the_pipe_does_not_hold_the_stream() {
    let mut client = Guest::start().client().await;
    let start = Instant::now();
    let done = client.run(shell("sleep 3 & echo started")).await.unwrap();
    assert_eq!((&done.stdout[..], done.exited.unwrap().code), (&b"started\n"[..], Some(0)));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
async fn many_at_once_each_get_their_own_exit_code() {
    let guest = Guest::start();
    let client = guest.client().await;
    let runs = (0..100_u32).map(|number| {
        let mut client = client.clone();
        tokio::spawn(async move {
            let done = client.run(shell(&format!("echo {number}; exit {number}"))).await.unwrap();
            assert_eq!(done.stdout, format!("{number}\n").into_bytes());
            assert_eq!(done.exited.unwrap().code, Some(number));
        })
    });
    for run in runs.collect::<Vec<_>>() {
        run.await.unwrap();
    }
}

#[test]
async fn signals_are_checked() {
    let mut client = Guest::start().client().await;
    let process = client.processes.start(command(&["true"])).await.unwrap().into_inner().process;
    client.processes.wait(ProcessRef { process }).await.unwrap();
    let mut signal = async |process, signal| {
        client.processes.signal(SignalRequest { process, signal, group: false }).await.unwrap_err().code()
    };
    assert_eq!(signal(process, 0).await, Code::InvalidArgument);
    assert_eq!(signal(process, 65).await, Code::InvalidArgument);
    assert_eq!(signal(process, 15).await, Code::FailedPrecondition);
    assert_eq!(signal(77, 15).await, Code::NotFound);
}
