import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { nodeContract } from "@exai/api/host";
import { newLifetimeId, newWorkspaceId, type WorkspaceId } from "@exai/base";
import { createIpcClient, type IpcClient } from "@exai/ipc";
import { type LaunchPlan, type NodeCalls, nodeCalls } from "@exai/machine";
import { Stand } from "../../packages/tenant/src/testing/stand.ts";
import type { Random } from "../../tools/chaos/random.ts";
import { ChannelProcess } from "../support/channel-process.ts";
import { AgentProcess } from "../vm/agent-process.ts";
import type { HostFixture } from "../vm/host-fixture.ts";

export const kinds = ["vmm", "launcher", "agent", "channel"] as const;
export type Kind = (typeof kinds)[number];

/** More than two at once cost time and show nothing more. */
const mostKept = 2;
/** A launch takes about as long as all of them in the nested host; a kill shall hit any moment of it. */
const longestWaitMs = 500;
const killsInRound = 3;

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

  /** A workspace comes and another goes; processes die in the middle of it; what was asked for is asked again. */
  async round(): Promise<void> {
    const workspace = newWorkspaceId();
    const lifetime = newLifetimeId();
    const going = this.#kept.length >= mostKept ? this.#random.pick(this.#kept) : undefined;
    const work = async (): Promise<void> => {
      const calls = this.#calls;
      const comes = calls
        .prepare({ workspace, diskMib: 64 })
        .then(() => calls.launch({ workspace, lifetime, ...this.#plan }));
      await Promise.all([comes, going === undefined ? undefined : calls.remove({ workspace: going })]);
    };
    const first = work().catch(() => undefined);
    for (let n = 0; n < killsInRound; n++) {
      await sleep(this.#random.below(longestWaitMs));
      await this.#kill(this.#random.pick(kinds));
    }
    await first;
    await this.#mend();
    // Repeated, each step comes to its end: a lifetime that died is not started again, and goes as well as one that runs.
    await work();
    this.#kept = [...this.#kept.filter((each) => each !== going), workspace];
  }

  async #kill(kind: Kind): Promise<void> {
    const killed = kind === "agent" || kind === "channel" ? await this.#killOurs(kind) : this.#killVm(kind);
    if (killed) this.kills.set(kind, (this.kills.get(kind) ?? 0) + 1);
  }

  /** @returns whether it lived until then */
  async #killOurs(kind: "agent" | "channel"): Promise<boolean> {
    const killed = this.#process(kind).child.kill("SIGKILL");
    await this.#process(kind)[Symbol.asyncDispose]();
    return killed;
  }

  #process(kind: "agent" | "channel"): AgentProcess | ChannelProcess {
    return kind === "agent" ? this.#agent : this.#channel;
  }

  /** A VMM, or a launcher: one that keeps a VMM, or one that is only starting it. Of this stack and no other. */
  #killVm(kind: Kind): boolean {
    const program = kind === "vmm" ? "firecracker" : "exai-launcher";
    const { first, count } = this.#host.config.vmUids;
    const all = processes();
    const parents = new Set([this.#agent.child.pid ?? 0]);
    for (const { pid, parent } of all) if (parent === this.#agent.child.pid) parents.add(pid);
    const its = all.filter(({ uid, parent }) => (uid >= first && uid < first + count) || parents.has(parent));
    const found = its.filter(({ name }) => name === program);
    if (found.length === 0) return false;
    try {
      return process.kill(this.#random.pick(found).pid, "SIGKILL");
    } catch {
      return false; // it has just ended by itself
    }
  }

  async #mend(): Promise<void> {
    if (hasEnded(this.#agent)) {
      this.#client[Symbol.dispose]();
      this.#agent = new AgentProcess(this.#host);
      await this.#agent.serving();
      this.#client = createIpcClient(this.#agent.socket, nodeContract);
    }
    if (hasEnded(this.#channel)) this.#channel = await ChannelProcess.start(this.#host, this.#stand);
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

const hasEnded = ({ child }: AgentProcess | ChannelProcess): boolean =>
  child.exitCode !== null || child.signalCode !== null;

function processes(): { pid: number; parent: number; uid: number; name: string }[] {
  return readdirSync("/proc").flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      const status = readFileSync(`/proc/${pid}/status`, "utf8");
      const [name = "", parent, uid] = [/^Name:\s+(.*)$/m, /^PPid:\s+(\d+)/m, /^Uid:\s+(\d+)/m].map(
        (pattern) => pattern.exec(status)?.[1],
      );
      return [{ pid: Number(pid), parent: Number(parent), uid: Number(uid), name }];
    } catch {
      return []; // it ended while we looked
    }
  });
}
