import type { ChildProcess } from "node:child_process";
import { z } from "zod";
import type { TestStack } from "../../tests/support/stack.ts";
import type { Random } from "./random.ts";
import { type Kind, kinds, pidsOf } from "./victims.ts";
import { Witness } from "./witness.ts";

const listed = z.array(
  z.looseObject({
    id: z.string(),
    name: z.string().optional(),
    observed: z.looseObject({ phase: z.string() }).optional(),
  }),
);

/** One run: long-lived workspaces that must survive, short-lived ones that come and go, and kills in between. */
export class Chaos {
  readonly stack: TestStack;
  readonly #random: Random;
  readonly #say: (line: string) => void;
  readonly #witnesses: Witness[] = [];
  readonly #byKind = new Map<Kind, number>();
  #shortLived = 0;
  /** Long-lived workspaces that were there and whole at the end. */
  #kept = 0;

  constructor(stack: TestStack, random: Random, say: (line: string) => void) {
    this.stack = stack;
    this.#random = random;
    this.#say = say;
  }

  get kills(): number {
    return this.#byKind.values().reduce((sum, n) => sum + n, 0);
  }

  get counts() {
    return {
      kills: this.kills,
      byKind: Object.fromEntries(this.#byKind),
      shortLived: this.#shortLived,
      kept: this.#kept,
    };
  }

  async begin(workspaces: number): Promise<void> {
    for (let n = 0; n < workspaces; n++) {
      const witness = new Witness(this.stack, `witness-${n}`);
      await witness.create();
      this.#witnesses.push(witness);
    }
  }

  /** Some work in flight, one kill in the middle of it, then everything must be as it was. */
  async round(): Promise<void> {
    const kind = this.#random.pick(kinds);
    const client = this.stack.spawn(["run", "--memory", "128M", "--", "sh", "-c", "sleep 1"]);
    const ended = new Promise<void>((done) => client.once("close", () => done()));
    await sleep(this.#random.below(2500));
    await this.#kill(kind, client);
    await this.#settle(kind);
    await ended;
    this.#shortLived++;
  }

  async #kill(kind: Kind, client: ChildProcess): Promise<void> {
    const pids = kind === "client" ? [client.pid ?? 0] : await pidsOf(this.stack, kind);
    if (pids.length === 0) return;
    const pid = this.#random.pick(pids);
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      return; // it ended by itself just now
    }
    this.#byKind.set(kind, (this.#byKind.get(kind) ?? 0) + 1);
    this.#say(`kill ${this.kills}: ${kind} ${pid}`);
  }

  async #settle(kind: Kind): Promise<void> {
    if (kind === "supervisor") await this.#upAgain();
    const vmDied = kind === "launcher" || kind === "vmm";
    for (const witness of this.#witnesses)
      await this.#retry(`${witness.name} after a kill of ${kind}`, () => this.#mend(witness, vmDied));
  }

  async #mend(witness: Witness, vmDied: boolean): Promise<void> {
    try {
      await witness.check();
    } catch (error) {
      // Its processes died with the VMM; the workspace and its disk did not.
      if (!vmDied) throw error;
      await witness.startCounting();
      await witness.check();
    }
  }

  async #upAgain(): Promise<void> {
    // Its children see the end of their input and go; the lock is free at once.
    await this.#retry("exai up after the supervisor was killed", async () => {
      const status = await this.stack.exai(["status"]);
      if (status.code !== 0) await this.stack.must(["up", "-d"]);
    });
  }

  /** Every short-lived workspace is gone or goes by its TTL; every long-lived one is there. */
  async finish(): Promise<void> {
    const { stdout } = await this.stack.must(["workspace", "ls", "--json"]);
    const workspaces = listed.parse(JSON.parse(stdout));
    for (const witness of this.#witnesses) {
      if (!workspaces.some((each) => each.name === witness.name)) throw new Error(`${witness.name} was lost`);
      await witness.check();
      this.#kept++;
    }
    for (const each of workspaces) await this.stack.must(["workspace", "rm", each.id]);
  }

  async #retry(what: string, step: () => Promise<void>): Promise<void> {
    const untilMs = Date.now() + 60_000;
    for (;;) {
      try {
        return await step();
      } catch (error) {
        if (Date.now() > untilMs) throw new Error(`${what}: still wrong after 60 s`, { cause: error });
        await sleep(250);
      }
    }
  }
}

const sleep = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));
