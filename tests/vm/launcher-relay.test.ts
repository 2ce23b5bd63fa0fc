import { readFileSync, realpathSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { channelUid, LauncherFixture, type Report } from "./launcher-fixture.ts";

/**
 * A double of a VMM that wants paths: it listens on its API, writes to its FIFOs, and dials the host's port as a guest
 * does, again after each end. What it is sent decides what it does.
 */
const vmm = `
import os, socket, sys, threading, time
print(open("/vm/config").read(), flush=True)
log = open("/run/log", "w"); log.write("log line\\n"); log.flush()
def api():
    s = socket.socket(socket.AF_UNIX); s.bind("/run/api.sock"); s.listen(8)
    while True:
        c, _ = s.accept()
        def one(c):
            d = c.recv(100); c.sendall(b"api " + d); c.close()
        threading.Thread(target=one, args=(c,)).start()
threading.Thread(target=api).start()
for turn in range(1000):
    g = socket.socket(socket.AF_UNIX); g.connect("/run/v.sock_1024"); g.sendall(b"hello %d\\n" % turn)
    while True:
        d = g.recv(1 << 16)
        if not d: break
        if d.startswith(b"flood"):
            for _ in range(2000): log.write("x" * 1000 + "\\n")
            log.flush(); g.sendall(b"flooded\\n")
        elif d.startswith(b"dial"):
            for _ in range(10000):
                o = socket.socket(socket.AF_UNIX); o.connect("/run/v.sock_1024")
                try: o.sendall(b"x" * 10000)
                except OSError: pass
                o.close()
            g.sendall(b"dialled\\n")
        elif d.startswith(b"deaf"):
            os.unlink("/run/api.sock")
            deaf = socket.socket(socket.AF_UNIX); deaf.bind("/run/api.sock"); deaf.listen(0)
            waiting = []
            try:
                while True:
                    o = socket.socket(socket.AF_UNIX); o.setblocking(False); o.connect("/run/api.sock"); waiting.append(o)
            except BlockingIOError: g.sendall(b"deaf\\n")
        elif d.startswith(b"bye"): g.sendall(b"last words"); break
        elif d.startswith(b"sleep"): time.sleep(1000)
        else: g.sendall(d)
    g.close()
`;

async function start(fixture: LauncherFixture): Promise<Report> {
  const owner = { uid: channelUid, gid: channelUid, mode: 0o600 };
  const report = await fixture.run({
    vmm: realpathSync("/usr/bin/python3"),
    argv: ["-c", vmm],
    sockets: [
      { fd: 10, path: fixture.socket, ...owner },
      { fd: 11, path: join(fixture.channel, "api.sock"), ...owner },
    ],
    workFolder: "/run",
    texts: [{ target: "/vm/config", content: "the configuration" }],
    relays: [
      { fd: 10, path: "/run/v.sock_1024", kind: "accept" },
      { fd: 11, path: "/run/api.sock", kind: "dial" },
    ],
    fifos: [{ path: "/run/log", log: { path: join(fixture.root, "fifo.log"), maxBytes: 64 << 10 } }],
  });
  expect(report).toMatchObject({ ok: true });
  return report;
}

const residentMib = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;

/** A client that collects what it hears. */
class Client implements Disposable {
  heard = "";
  ended = false;
  readonly socket: Socket;
  constructor(path: string) {
    this.socket = connect(path);
    this.socket.on("data", (data: Buffer) => {
      this.heard += data.toString();
    });
    this.socket.on("error", () => undefined);
    this.socket.on("close", () => {
      this.ended = true;
    });
  }
  async hears(pattern: RegExp): Promise<void> {
    await expect.poll(() => this.heard, { timeout: 10_000 }).toMatch(pattern);
  }
  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

test("the guest's calls come to who dials, one after the other, and what it says last is delivered", async () => {
  await using fixture = new LauncherFixture();
  await start(fixture);
  {
    using first = new Client(fixture.socket);
    await first.hears(/^hello 0\n$/);
    first.socket.write("echo");
    await first.hears(/^hello 0\necho$/);
    using second = new Client(fixture.socket);
    await sleep(200);
    expect(second.heard).toBe("");
    first.socket.destroy();
    await second.hears(/^hello 1\n$/);
    second.socket.write("bye");
    await second.hears(/^hello 1\nlast words$/);
    await expect.poll(() => second.ended).toBe(true);
  }
  using third = new Client(fixture.socket);
  await third.hears(/^hello 2\n$/);
  expect(readFileSync(fixture.console, "utf8")).toBe("the configuration\n");
});

test("a VMM that takes nobody at its control socket keeps nobody from its channel", async () => {
  await using fixture = new LauncherFixture();
  await start(fixture);
  using guest = new Client(fixture.socket);
  await guest.hears(/^hello 0\n$/);
  guest.socket.write("deaf");
  await guest.hears(/deaf\n$/);
  using control = new Client(join(fixture.channel, "api.sock"));
  await expect.poll(() => control.ended, { timeout: 5_000 }).toBe(true);
  guest.socket.write("echo");
  await guest.hears(/echo$/);
});

test("a guest that takes nothing keeps out nobody but its own caller", async () => {
  await using fixture = new LauncherFixture();
  await start(fixture);
  const stuck = new Client(fixture.socket);
  await stuck.hears(/hello 0/);
  stuck.socket.write("sleep");
  stuck.socket.write(Buffer.alloc(8 << 20));
  await sleep(300);
  stuck.socket.destroy();
  const api = new Client(join(fixture.channel, "api.sock"));
  api.socket.write("ping");
  await api.hears(/^api ping$/);
  await expect.poll(() => api.ended).toBe(true);
});

test("a guest that dials without end is refused at once: its VMM never waits, and the channel goes on", async () => {
  await using fixture = new LauncherFixture();
  const report = await start(fixture);
  using client = new Client(fixture.socket);
  await client.hears(/hello 0/);
  client.socket.write("dial");
  // More than any backlog holds: a connect(2) that found it full would block the VMM for ever.
  await client.hears(/dialled/);
  client.socket.write("still here");
  await client.hears(/still here$/);
  expect(residentMib(report.launcherPid)).toBeLessThan(8);
});

test("a flooded FIFO is bounded and does not hold up the channel", async () => {
  await using fixture = new LauncherFixture();
  const report = await start(fixture);
  using client = new Client(fixture.socket);
  await client.hears(/hello 0/);
  client.socket.write("flood");
  await client.hears(/flooded/);
  const startMs = performance.now();
  client.socket.write("quick");
  await client.hears(/quick/);
  expect(performance.now() - startMs).toBeLessThan(1000);
  process.kill(report.pid, "SIGKILL");
  expect(await fixture.exit()).toEqual({ signal: 9 });
  const log = join(fixture.root, "fifo.log");
  const kept = readFileSync(`${log}.1`, "utf8") + readFileSync(log, "utf8");
  expect(kept.length).toBeLessThanOrEqual(64 << 10);
  expect(kept).toMatch(/\[exai: \d+ bytes dropped\]\n$/);
});
