import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { nodeContract } from "@exai/api/host";
import { newLifetimeId, newWorkspaceId, type WorkspaceId } from "@exai/base";
import { createIpcClient, type IpcClient } from "@exai/ipc";
import { type LaunchPlan, type NodeCalls, nodeCalls } from "@exai/machine";
import { Stand } from "../../packages/tenant/src/testing/stand.ts";
import type { Random } from "../../tools/chaos/random.ts";
import { AgentProcess, ChannelProcess } from "../support/host-processes.ts";
import type { HostFixture } from "../vm/host-fixture.ts";

export const kinds = ["vmm", "launcher", "agent", "channel"] as const;
export type Kind = (typeof kinds)[number];

/** More than two at once cost time and show nothing more. */
const mostKept = 2;
/** A launch takes about as long in the nested host; a kill shall hit any moment of it. */
const longestWaitMs = 1500;

/** A node agent, a channel and VMs, of which one dies by SIGKILL again and again while others come and go. */
export class Chaos implements AsyncDisposable {
  readonly kills = new Map<Kind, number>();
  readonly #host: HostFixture;
  readonly #plan: LaunchPlan;
  readonly #random: Random;
  readonly #stand: Stand;
  #agent: AgentProcess;
  #channel: ChannelProcess;
  #client: IpcClient<typeof nodeContract>;
  #kept: WorkspaceId[] = [];

  static async begin(host: HostFixture, plan: LaunchPlan, random: Random): Promise<Chaos> {
    const stand = await Stand.make();
    const agent = new AgentProcess(host);
    await agent.serving();
    return new Chaos({ host, plan, random, stand, agent, channel: await ChannelProcess.start(host, stand) });
  }

  private constructor(parts: {
    host: HostFixture;
    plan: LaunchPlan;
    random: Random;
    stand: Stand;
    agent: AgentProcess;
    channel: ChannelProcess;
  }) {
    this.#host = parts.host;
    this.#plan = parts.plan;
    this.#random = parts.random;
    this.#stand = parts.stand;
    this.#agent = parts.agent;
    this.#channel = parts.channel;
    this.#client = createIpcClient(this.#agent.socket, nodeContract);
  }

  get total(): number {
    return this.kills.values().reduce((sum, count) => sum + count, 0);
  }

  get #calls(): NodeCalls {
    return nodeCalls(this.#client);
  }

  /** A workspace comes and another goes; one process dies in the middle of it; what was asked for is asked again. */
  async round(): Promise<void> {
    const workspace = newWorkspaceId();
    const lifetime = newLifetimeId();
    const going = this.#kept.length >= mostKept ? this.#random.pick(this.#kept) : undefined;
    const work = async (): Promise<void> => {
      const removed = going === undefined ? undefined : this.#calls.remove({ workspace: going });
      await this.#calls.prepare({ workspace, diskMib: 64 });
      await this.#calls.launch({ workspace, lifetime, ...this.#plan });
      await removed;
    };
    const first = work().catch(() => undefined);
    await sleep(this.#random.below(longestWaitMs));
    await this.#kill(this.#random.pick(kinds));
    await first;
    await this.#mend();
    // Repeated, each step comes to its end: a lifetime that died is not started again, and goes as well as one that runs.
    await work();
    this.#kept = [...this.#kept.filter((each) => each !== going), workspace];
  }

  async #kill(kind: Kind): Promise<void> {
    const pid = kind === "agent" || kind === "channel" ? this.#process(kind).pid : this.#vm(kind);
    if (pid === undefined) return;
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      return; // it has just ended by itself
    }
    this.kills.set(kind, (this.kills.get(kind) ?? 0) + 1);
    if (kind === "agent" || kind === "channel") await this.#process(kind).ended;
  }

  #process(kind: "agent" | "channel"): AgentProcess | ChannelProcess {
    return kind === "agent" ? this.#agent : this.#channel;
  }

  /** A VMM, or a launcher: one that keeps a VMM, or one that is only starting it. */
  #vm(kind: Kind): number | undefined {
    const program = kind === "vmm" ? "firecracker" : "exai-launcher";
    const found = readdirSync("/proc").filter((pid) => /^\d+$/.test(pid) && commandOf(pid).includes(program));
    return found.length === 0 ? undefined : Number(this.#random.pick(found));
  }

  async #mend(): Promise<void> {
    if (this.#agent.child.exitCode !== null || this.#agent.child.signalCode !== null) {
      this.#client[Symbol.dispose]();
      this.#agent = new AgentProcess(this.#host);
      await this.#agent.serving();
      this.#client = createIpcClient(this.#agent.socket, nodeContract);
    }
    if (this.#channel.child.exitCode !== null || this.#channel.child.signalCode !== null)
      this.#channel = await ChannelProcess.start(this.#host, this.#stand);
  }

  /** Kills all processes of the stack but VMs and their launchers, and lets a new agent find and remove those. */
  async end(): Promise<number> {
    await this.#agent[Symbol.asyncDispose]();
    await this.#channel[Symbol.asyncDispose]();
    await this.#mend();
    const { vms } = await this.#client.call("list", {});
    for (const { workspace } of vms) await this.#calls.remove({ workspace });
    this.#agent.child.stdin?.end();
    await this.#agent.ended;
    return vms.length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client[Symbol.dispose]();
    await this.#agent[Symbol.asyncDispose]();
    await this.#channel[Symbol.asyncDispose]();
    await this.#stand[Symbol.asyncDispose]();
  }
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return ""; // it ended while we looked
  }
}
