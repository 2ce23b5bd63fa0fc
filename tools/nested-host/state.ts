import { execFile } from "node:child_process";
import { createWriteStream } from "node:fs";
import { createServer, type Socket } from "node:net";
import { basename, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { cached } from "../build/cached.ts";
import { type Boot, type HostShape, hostArguments } from "./arguments.ts";
import { runCommand } from "./command.ts";
import { connect } from "./connect.ts";
import { HostProcess } from "./process.ts";
import { saveState, withMonitor } from "./qmp.ts";

/** Run before the state is saved, so that the programs that suites need are in the saved page cache already. */
const warmUp = [
  ["node", "-e", "0"],
  ["qemu-system-x86_64", "--version"],
  ["sh", "-c", "ip link >/dev/null && mount >/dev/null && ps >/dev/null"],
] as const;

/**
 * For several processors: a VM that stays. With the first VM of a host Linux patches its own scheduler, and with the last one
 * again; QEMU before 8.1 may go on executing what was there before, for ever (docs/internals/nested-host.md).
 */
const keptVm = [
  ...["qemu-system-x86_64", "-M", "none", "-accel", "kvm", "-S", "-nodefaults", "-no-user-config", "-display", "none"],
  "-daemonize",
] as const;

const stepsOf = ({ cpus }: HostShape) => (cpus > 1 ? [...warmUp, keptVm] : warmUp);

type Described = Omit<Boot, "run" | "stateFd">;

/**
 * The memory of a nested host that has booted and waits: going on from it takes a second instead of ten. Made once for
 * what it consists of: its files, its shape, the emulator, and the rate of the counter that its kernel was told.
 * @returns the path of the state
 */
export async function savedState(boot: Described, signal?: AbortSignal): Promise<string> {
  const { stdout: emulator } = await promisify(execFile)("/usr/bin/qemu-system-x86_64", ["--version"]);
  const shares = boot.shares.map(({ tag }) => ({ tag, path: "/" }));
  // Two measurements differ by a ten-thousandth.
  const tscKhz = Math.round(boot.tscKhz / 1000) * 1000;
  const words = hostArguments({ ...boot, files: basename(boot.files), shares, tscKhz, run: "/" });
  const inputs = [...words, emulator, JSON.stringify(stepsOf(boot.shape)), "v2"];
  const { folder } = await cached("nested-host-state", inputs, (fresh) =>
    makeState(boot, join(fresh, "state"), signal),
  );
  return join(folder, "state");
}

async function makeState(boot: Described, path: string, signal: AbortSignal | undefined): Promise<void> {
  await using process = new HostProcess(boot);
  {
    using session = await connect(process, signal);
    for (const [program, ...args] of stepsOf(boot.shape)) await runCommand(session, [program, ...args], { signal });
  }
  const socketPath = join(process.run, "state.sock");
  const { promise: arrived, resolve } = Promise.withResolvers<Socket>();
  const server = createServer(resolve);
  await new Promise<void>((listening) => server.listen(socketPath, listening));
  try {
    const saved = withMonitor(process.path("monitor"), (call) => saveState(call, socketPath));
    await Promise.all([saved, arrived.then((socket) => pipeline(socket, createWriteStream(path)))]);
  } finally {
    server.close();
  }
}
