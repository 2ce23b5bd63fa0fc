import { setTimeout as sleep } from "node:timers/promises";
import type { Monitor } from "../monitor.ts";
import { FirecrackerApi } from "./api.ts";

/** How long a process that was just started may take until its API answers. */
const readyMs = 20_000;
const againMs = 10;

export class FirecrackerMonitor implements Monitor {
  readonly #api: FirecrackerApi;

  constructor(path: string) {
    this.#api = new FirecrackerApi(path);
  }

  pause(): Promise<void> {
    return this.#api.pause();
  }

  resume(): Promise<void> {
    return this.#api.resume();
  }

  save(): Promise<void> {
    return this.#api.createSnapshot();
  }

  async load(): Promise<void> {
    await this.#ready();
    await this.#api.loadSnapshot();
  }

  async #ready(): Promise<void> {
    const endMs = performance.now() + readyMs;
    for (;;) {
      try {
        return void (await this.#api.state());
      } catch (error) {
        if (performance.now() > endMs) throw error;
      }
      await sleep(againMs);
    }
  }

  [Symbol.dispose](): void {
    // Each of its calls has a connection of its own.
  }
}
