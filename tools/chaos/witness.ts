import { z } from "zod";
import type { TestStack } from "../../tests/support/stack.ts";

const started = z.looseObject({ process: z.coerce.string() });

/**
 * A long-lived workspace with a process that counts. While its VMM lives, the process must live too, and whoever
 * attaches must see the count go on without a gap.
 */
export class Witness {
  readonly name: string;
  readonly #stack: TestStack;
  #process = "";
  #last = 0;

  constructor(stack: TestStack, name: string) {
    this.#stack = stack;
    this.name = name;
  }

  async create(): Promise<void> {
    await this.#stack.must(["workspace", "create", "--name", this.name, "--memory", "128M"]);
    await this.startCounting();
  }

  /** Again after the VMM died: its processes died with it. */
  async startCounting(): Promise<void> {
    const script = "i=0; while sleep 0.2; do i=$((i+1)); echo $i; done";
    const ran = await this.#stack.must(["exec", "--detach", "--json", this.name, "--", "sh", "-c", script]);
    this.#process = started.parse(JSON.parse(ran.stdout.trim().split("\n").at(-1) ?? "")).process;
    this.#last = 0;
  }

  /** @throws when the workspace, its files or its process are not what they were */
  async check(): Promise<void> {
    const listed = await this.#stack.must(["ps", "--json", this.name]);
    const alive = z.array(z.looseObject({ id: z.coerce.string(), exited: z.unknown().optional() }));
    const found = alive.parse(JSON.parse(listed.stdout)).find((each) => each.id === this.#process);
    if (found === undefined || found.exited !== undefined) throw new Error(`${this.name}: its process is gone`);
    const numbers = await this.#attach();
    const newest = numbers.at(-1) ?? 0;
    if (newest < this.#last) throw new Error(`${this.name}: the count went back from ${this.#last} to ${newest}`);
    for (const [at, value] of numbers.entries()) {
      const before = numbers[at - 1];
      if (before !== undefined && value !== before + 1)
        throw new Error(`${this.name}: a gap from ${before} to ${value}`);
    }
    this.#last = newest;
  }

  async #attach(): Promise<number[]> {
    const child = this.#stack.spawn(["attach", this.name, this.#process]);
    let text = "";
    let said = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      text += chunk.toString("utf8");
    });
    child.stderr?.on("data", (chunk: Buffer) => {
      said += chunk.toString("utf8");
    });
    const closed = new Promise<void>((done) => child.once("close", () => done()));
    for (let n = 0; n < 100 && !text.includes("\n") && child.exitCode === null; n++)
      await new Promise((done) => setTimeout(done, 50));
    await new Promise((done) => setTimeout(done, 500));
    child.kill("SIGKILL"); // a client that dies must not take the process with it
    await closed;
    const lines = text
      .split("\n")
      .slice(0, -1)
      .filter((line) => /^\d+$/.test(line));
    if (lines.length === 0) throw new Error(`${this.name}: nothing was seen after attaching: ${said.trim()}`);
    return lines.map(Number);
  }
}
