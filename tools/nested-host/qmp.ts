import { createConnection } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { HostError } from "./errors.ts";

export type QmpCall = (execute: string, args?: Readonly<Record<string, unknown>>) => Promise<unknown>;

/** QEMU's monitor (docs/interop/qmp-spec.txt), for an emulator that we trust; one command after the other. */
export async function withMonitor<T>(path: string, use: (call: QmpCall) => Promise<T>): Promise<T> {
  const socket = createConnection(path);
  const lines = createInterface({ input: socket, crlfDelay: Number.POSITIVE_INFINITY })[Symbol.asyncIterator]();
  socket.on("error", () => undefined);
  const answer = async (): Promise<Record<string, unknown>> => {
    for (;;) {
      const line = await lines.next();
      if (line.done === true) throw new HostError("monitor", "QEMU has closed its monitor");
      const message = JSON.parse(line.value) as Record<string, unknown>;
      if (!("event" in message)) return message;
    }
  };
  const call: QmpCall = async (execute, args = {}) => {
    socket.write(`${JSON.stringify({ execute, arguments: args })}\n`);
    const message = await answer();
    if (!("error" in message)) return message["return"];
    throw new HostError("monitor", `QEMU refused ${execute}: ${JSON.stringify(message["error"])}`);
  };
  try {
    await answer(); // the greeting
    await call("qmp_capabilities");
    return await use(call);
  } finally {
    socket.destroy();
  }
}

/**
 * Writes the machine's state to whoever listens on `socketPath`; the machine then stands still. It is not stopped
 * before: a state says whether the machine ran, and one that did goes on by itself when it is restored.
 * @throws HostError `monitor`
 */
export async function saveState(call: QmpCall, socketPath: string): Promise<void> {
  await call("migrate-set-parameters", { "max-bandwidth": 2 ** 33 });
  await call("migrate", { uri: `unix:${socketPath}` });
  for (;;) {
    const { status, "error-desc": why } = (await call("query-migrate")) as Record<string, unknown>;
    if (status === "completed") return;
    if (status === "failed" || status === "cancelled")
      throw new HostError("monitor", `QEMU could not save the state: ${String(why ?? status)}`);
    await sleep(50);
  }
}
