//! Talks to a guest through the VMM's chardev socket: `guestctl SOCKET hello|run ARGV…|bench|metrics|shutdown`.

use std::io::Write;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use exai_guest::proto::{Empty, HelloRequest, ShutdownRequest};

#[path = "../tests/common/client.rs"]
#[allow(dead_code)]
mod client;

use client::{Client, command, shell};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, verb, rest @ ..] = &arguments[..] else { panic!("guestctl SOCKET VERB [ARGV…]") };
    let mut client = Client::dial(Path::new(socket)).await;
    match verb.as_str() {
        "hello" => println!("{:?}", hello(&mut client).await),
        "metrics" => println!("{:?}", client.machine.metrics(Empty {}).await.expect("metrics").into_inner()),
        "list" => println!("{:#?}", client.processes.list(Empty {}).await.expect("list").into_inner()),
        "run" => {
            let argv: Vec<&str> = rest.iter().map(String::as_str).collect();
            match client.run(command(&argv)).await {
                Ok(done) => {
                    std::io::stdout().write_all(&done.stdout).expect("stdout");
                    std::io::stderr().write_all(&done.stderr).expect("stderr");
                    println!("{:?}", done.exited);
                }
                Err(status) => println!("{:?}: {}", status.code(), status.message()),
            }
        }
        "bench" => bench(&mut client).await,
        "shutdown" => drop(client.machine.shutdown(ShutdownRequest { grace_ms: 500, reboot: false }).await),
        other => panic!("no verb {other}"),
    }
}

async fn hello(client: &mut Client) -> exai_guest::proto::HelloResponse {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_nanos();
    let request = HelloRequest {
        contract: 1,
        now_unix_ns: now as i64,
        entropy: vec![7; 64].into(),
        hostname: "workspace-1".into(),
    };
    client.machine.hello(request).await.expect("hello").into_inner()
}

/// p50 and p99 of an empty call and of `true`, and the rate of output.
async fn bench(client: &mut Client) {
    let mut times = Vec::new();
    for _ in 0..200 {
        let start = Instant::now();
        client.processes.list(Empty {}).await.expect("list");
        times.push(start.elapsed());
    }
    print("list", &mut times);
    for _ in 0..200 {
        let start = Instant::now();
        client.run(command(&["/bin/true"])).await.expect("run");
        times.push(start.elapsed());
    }
    print("run true", &mut times);
    let start = Instant::now();
    let done = client.run(shell("dd if=/dev/zero bs=64k count=1024 2>/dev/null")).await.expect("run");
    let seconds = start.elapsed().as_secs_f64();
    println!("output: {:.1} MB/s", done.stdout.len() as f64 / 1e6 / seconds);
}

fn print(what: &str, times: &mut Vec<std::time::Duration>) {
    times.sort();
    println!("{what}: p50 {:?} p99 {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
    times.clear();
}
