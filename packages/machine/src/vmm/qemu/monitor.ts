import { setTimeout as sleep } from "node:timers/promises";
import { MachineError } from "../../errors.ts";
import type { Monitor } from "../monitor.ts";
import { connectQmp, type Qmp } from "./qmp.ts";

/** As long as a guest's memory takes; an emulated host writes 50 MB/s. */
const patienceMs = 300_000;
const againMs = 20;
/** Bytes a second; the default throttles, for a network that is not there. */
const maxBandwidth = 2 ** 40;

export class QemuMonitor implements Monitor {
  readonly #qmp: Qmp;

  private constructor(qmp: Qmp) {
    this.#qmp = qmp;
  }

  static async connect(path: string): Promise<QemuMonitor> {
    return new QemuMonitor(await connectQmp(path));
  }

  async pause(): Promise<void> {
    await this.#qmp.execute({ execute: "stop" });
  }

  async resume(): Promise<void> {
    await this.#qmp.execute({ execute: "cont" });
  }

  async save(): Promise<void> {
    const bandwidth = { "max-bandwidth": maxBandwidth } as const;
    await this.#qmp.execute({ execute: "migrate-set-parameters", arguments: bandwidth });
    // The descriptor that the node agent passed.
    await this.#qmp.execute({ execute: "migrate", arguments: { uri: "fd:snapshot" } });
    const how = await this.#until(() => this.#qmp.migration(), ["completed", "failed", "cancelled"]);
    if (how !== "completed") throw new MachineError("monitor", `QEMU did not save the machine: ${how}`);
  }

  async load(): Promise<void> {
    await this.#until(() => this.#qmp.status(), ["paused", "postmigrate", "prelaunch"]);
  }

  async #until(look: () => Promise<string>, wanted: readonly string[]): Promise<string> {
    const endMs = performance.now() + patienceMs;
    while (performance.now() < endMs) {
      const seen = await look();
      if (wanted.includes(seen)) return seen;
      await sleep(againMs);
    }
    throw new MachineError("monitor", `QEMU took longer than ${patienceMs / 1000} s`);
  }

  [Symbol.dispose](): void {
    this.#qmp[Symbol.dispose]();
  }
}
