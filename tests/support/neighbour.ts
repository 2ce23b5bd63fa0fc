import type { GuestSession } from "@exai/machine";
import { bytes } from "@exai/machine/contract";

/** How long an honest workspace's calls take while something else happens on its host. */
export class Neighbour {
  readonly #guest: GuestSession;

  constructor(guest: GuestSession) {
    this.#guest = guest;
  }

  /** How long running `true` takes, in ms, so many times. */
  async calls(times: number): Promise<number[]> {
    const taken: number[] = [];
    for (let n = 0; n < times; n++) taken.push(await this.#call());
    return taken;
  }

  async #call(): Promise<number> {
    const startedMs = performance.now();
    for await (const { event } of this.#guest.processes.run({ argv: [bytes("true")], user: "root" }))
      if (event.case === "exited" && event.value.code !== 0) throw new Error("'true' failed in a neighbour");
    return performance.now() - startedMs;
  }
}
