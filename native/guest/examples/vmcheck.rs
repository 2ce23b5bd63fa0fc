//! Hostile user code against a booted guest: `vmcheck SOCKET`. Prints one line per check and fails at the first that
//! does not hold. The root must hold a busybox-like /bin.

use std::path::Path;
use std::time::{Duration, Instant};

use exai_guest::proto::{Empty, Lifetime, ProcessRef, QuiesceRequest, SetClockRequest, SignalRequest, StartRequest};
use exai_guest::proto::{Terminal, lifetime::WhenDetached};

#[path = "../tests/common/client.rs"]
#[allow(dead_code)]
mod client;

use client::{Client, Finished, command, shell};

fn as_user(script: &str) -> StartRequest {
    StartRequest { user: String::new(), ..shell(script) }
}

fn text(done: &Finished) -> String {
    String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr)
}

fn bounded(seconds: u64, request: StartRequest) -> StartRequest {
    let lifetime = Some(Lifetime { timeout_ms: seconds * 1000, grace_ms: 500, when_detached: 0 });
    StartRequest { lifetime, ..request }
}

async fn answers(client: &mut Client) -> Duration {
    let start = Instant::now();
    let done = client.run(command(&["/bin/true"])).await.expect("a run");
    assert_eq!(done.exited.expect("an end").code, Some(0));
    start.elapsed()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let socket = std::env::args().nth(1).expect("vmcheck SOCKET");
    let mut client = Client::dial(Path::new(&socket)).await;
    identity(&mut client).await;
    pid_one(&mut client).await;
    descendants(&mut client).await;
    clock_and_freeze(&mut client).await;
    disk(&mut client).await;
    fork_bomb(&mut client).await;
    memory_bomb(&mut client).await;
    reconnects(&socket, client).await;
    println!("all checks hold");
}

async fn identity(client: &mut Client) {
    let done = client.run(as_user("id; pwd; cat /proc/self/oom_score_adj; echo $HOME")).await.expect("a run");
    let told = text(&done);
    assert!(told.contains("uid=1000(user) gid=1000(user)") && told.contains("docker"), "{told}");
    assert!(told.ends_with("/home/user\n0\n/home/user\n"), "{told}");
    println!("the default user has its groups, home, and no OOM exemption");
}

async fn pid_one(client: &mut Client) {
    let script = "cat /dev/vport*; echo x > /dev/vport*; kill -9 1; kill -15 1; cat /proc/1/mem; true";
    let told = text(&client.run(as_user(script)).await.expect("a run"));
    assert!(told.matches("denied").count() + told.matches("permitted").count() >= 4, "{told}");
    let script = "kill -9 1; kill -15 1; kill -1 1; kill -2 1; cat < $(ls /dev/vport* | head -1)";
    let told = text(&client.run(bounded(5, shell(script))).await.expect("a run"));
    assert!(told.contains("busy"), "{told}");
    answers(client).await;
    println!("PID 1 survives signals, users can't open the channel, root can't open it twice");
}

async fn descendants(client: &mut Client) {
    let script = "setsid sh -c 'sleep 1000 & sleep 1001' & sleep 0.3; trap '' TERM; while :; do sleep 1; done";
    let left = "ps | grep -c 'sleep 100[01]$'";
    let process = client.processes.start(as_user(script)).await.expect("a start").into_inner().process;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(text(&client.run(shell(left)).await.expect("a run")), "2\n");
    client.processes.signal(SignalRequest { process, signal: 9, group: true }).await.expect("a signal");
    client.processes.wait(ProcessRef { process }).await.expect("an end");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(text(&client.run(shell(left)).await.expect("a run")), "0\n");
    let groups = "ls /sys/fs/cgroup/user | grep -c '^p[0-9]'";
    // Only its own.
    assert_eq!(text(&client.run(shell(groups)).await.expect("a run")), "1\n");
    println!("KILL reaches descendants in sessions of their own, and their groups are removed");
}

async fn clock_and_freeze(client: &mut Client) {
    client.machine.set_clock(SetClockRequest { unix_ns: 1_000_000_000_000_000_000 }).await.expect("a clock");
    assert_eq!(text(&client.run(shell("date +%Y")).await.expect("a run")), "2001\n");
    client.machine.quiesce(QuiesceRequest { max_ms: 1500 }).await.expect("a freeze");
    let again = client.machine.quiesce(QuiesceRequest { max_ms: 1500 }).await;
    assert!(again.is_err());
    let start = Instant::now();
    client.run(shell("echo x > /root/frozen; cat /root/frozen")).await.expect("a run");
    assert!(start.elapsed() > Duration::from_millis(700), "{:?}", start.elapsed());
    client.machine.quiesce(QuiesceRequest { max_ms: 60_000 }).await.expect("a freeze");
    client.machine.thaw(Empty {}).await.expect("a thaw");
    client.machine.thaw(Empty {}).await.expect("a thaw of what is not frozen");
    client.run(shell("echo y > /root/frozen")).await.expect("a run");
    println!("the clock is set; a freeze holds writers, ends by itself and by Thaw");
}

async fn disk(client: &mut Client) {
    let done = client.run(bounded(120, as_user("dd if=/dev/zero of=/home/user/big bs=1M; rm /home/user/big")));
    let told = text(&done.await.expect("a run"));
    assert!(told.contains("No space left"), "{told}");
    answers(client).await;
    println!("a full disk is user code's own trouble");
}

async fn fork_bomb(client: &mut Client) {
    let lifetime = Some(Lifetime { when_detached: WhenDetached::Kill.into(), grace_ms: 200, timeout_ms: 8000 });
    let bomb = StartRequest { lifetime, ..as_user("f() { f | f & }; f; while :; do sleep 1; done") };
    let process = client.processes.start(bomb).await.expect("a start").into_inner().process;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let start = Instant::now();
    client.processes.list(Empty {}).await.expect("a list");
    let metrics = client.machine.metrics(Empty {}).await.expect("metrics").into_inner();
    println!("  during the bomb: {} tasks, answer in {:?}", metrics.processes, start.elapsed());
    client.processes.wait(ProcessRef { process }).await.expect("an end");
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("a fork bomb is bounded and ends with its process; then `true` takes {:?}", answers(client).await);
}

async fn memory_bomb(client: &mut Client) {
    let terminal = Some(Terminal { rows: 24, columns: 80, term: String::new() });
    let bomb = "awk 'BEGIN { s = \"x\"; while (1) s = s s }'; dd if=/dev/zero of=/dev/shm/x bs=1M; rm -f /dev/shm/x; tail /dev/zero";
    for request in [as_user(bomb), StartRequest { terminal, ..as_user(bomb) }] {
        let done = client.run(bounded(90, request)).await.expect("a run");
        println!("  the bomb ended: {:?}", done.exited.map(|exited| (exited.code, exited.signal, exited.timed_out)));
    }
    println!("memory bombs end within user code; then `true` takes {:?}", answers(client).await);
}

/// A host that comes back at once may read what the guest had sent to the one before; HTTP/2 notices, as the first
/// frame must be SETTINGS, and the host tries again.
async fn again(socket: &str, process: u64) -> Result<Client, ()> {
    let limit = Duration::from_secs(10);
    let dial = Client::try_dial(Path::new(socket));
    let mut client = tokio::time::timeout(limit, dial).await.map_err(drop)?.map_err(drop)?;
    let listed = tokio::time::timeout(limit, client.processes.list(Empty {})).await.map_err(drop)?.map_err(drop)?;
    let alive = listed.into_inner().processes.iter().any(|info| info.process == process && info.exited.is_none());
    assert!(alive, "the process is gone");
    Ok(client)
}

async fn reconnects(socket: &str, mut client: Client) {
    let process = client.processes.start(shell("sleep 1000")).await.expect("a start").into_inner().process;
    drop(client);
    let mut retries = 0;
    for round in 0..30 {
        tokio::time::sleep(Duration::from_millis(round % 3 * 30)).await;
        let mut tries = 0;
        let mut client = loop {
            match again(socket, process).await {
                Ok(client) => break client,
                Err(()) => tries += 1,
            }
            assert!(tries < 5, "round {round}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        retries += tries;
        // Leaves in the middle of a stream.
        let _stream = client.processes.run(shell("yes")).await.expect("a run");
    }
    println!("thirty hosts come and go in the middle of streams ({retries} retries), and the process lives on");
}
