import { describeError, type Logger } from "@exai/base";
import { createIpcClient, type IpcClient, serveIpc } from "@exai/ipc";
import { brokerContract, type StackStatus, supervisorContract } from "../contracts.ts";
import { enrolledTenants } from "../enrol/tenants.ts";
import { HostError } from "../errors.ts";
import { runPaths } from "../home/paths.ts";
import { version } from "../version.ts";
import { SupervisedChild } from "./child.ts";
import { serveMetrics } from "./metrics.ts";
import { notProtected } from "./not-protected.ts";
import { brokerPlan, channelPlan, controlPlan, nodePlan, type StackOptions } from "./plans.ts";
import { pssMib } from "./pss.ts";
import { reapServices } from "./reap.ts";
import { makeRunFolders, removeRunFolders } from "./run-folder.ts";
import { spoolUse } from "./spools.ts";

export interface StackFacts {
  acceleratorReason: string;
  startedAtMs: number;
  logger: Logger;
}

/** Node alone takes seconds to start on a busy or emulated host; a child that ends is seen at once, however long this is. */
const brokerMs = 120_000;

/** All processes of a stack, in the order in which they depend on each other. */
export class Stack implements AsyncDisposable {
  readonly #options: StackOptions;
  readonly #facts: StackFacts;
  readonly #children: SupervisedChild[] = [];
  readonly #broker: IpcClient<typeof brokerContract>;
  readonly #stopped = Promise.withResolvers<void>();
  readonly #servers: AsyncDisposable[] = [];
  #keepVms = false;
  #stopping = false;
  #reloaded: Promise<void> = Promise.resolve();
  #ready = false;

  constructor(options: StackOptions, facts: StackFacts) {
    this.#options = options;
    this.#facts = facts;
    this.#broker = createIpcClient(runPaths(options.home.stack).brokerSocket, brokerContract);
  }

  /** Resolves when somebody asked the stack to stop. */
  get stopRequested(): Promise<void> {
    return this.#stopped.promise;
  }

  /** The first request counts: with a service manager, `down --keep-vms` is followed by SIGTERM, and VMs must stay. */
  requestStop(keepVms: boolean): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#keepVms = keepVms;
    this.#stopped.resolve();
  }

  async start(): Promise<void> {
    const o = this.#options;
    makeRunFolders(o.home, o.tenants);
    const supervisor = await serveIpc({
      path: runPaths(o.home.stack).supervisorSocket,
      contract: supervisorContract,
      handlers: {
        status: () => this.status(),
        stop: async ({ keepVms }) => {
          this.requestStop(keepVms);
          return {};
        },
        checked: (summary) => this.#broker.call("checked", summary, { timeoutMs: 4_000 }),
        reload: async () => {
          // One after the other: two at once would start two of each process.
          this.#reloaded = this.#reloaded.catch(() => undefined).then(() => this.#reload());
          await this.#reloaded;
          return {};
        },
      },
    });
    this.#servers.push(supervisor, await serveMetrics(runPaths(o.home.stack).metricsSocket, () => this.status()));
    this.#startChildren();
    await this.#awaitBroker();
    this.#ready = true;
  }

  #startChildren(): void {
    const o = this.#options;
    const { logger } = this.#facts;
    const plans = [nodePlan(o), controlPlan(o), ...o.tenants.map((each) => channelPlan(o, each)), brokerPlan(o)];
    for (const plan of plans) this.#children.push(new SupervisedChild(plan, logger));
  }

  /** A host works without its control plane, so that is only waited for; without its broker it does not. */
  async #awaitBroker(): Promise<void> {
    const untilMs = Date.now() + brokerMs;
    for (;;) {
      const status = await this.#brokerStatus();
      if (status?.controlConnected === true) return;
      if (Date.now() > untilMs) {
        if (status !== undefined) return;
        throw new HostError("child", `the broker does not start; see ${this.#options.home.paths.logs}/broker.log`);
      }
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }

  async #brokerStatus() {
    return this.#broker.call("status", {}, { timeoutMs: 2_000 }).catch(() => undefined);
  }

  /** New tenants need sockets of the node agent and the broker's trust: everything restarts, VMs go on. */
  async #reload(): Promise<void> {
    const o = this.#options;
    if (this.#stopping) throw new HostError("not-running", "the stack is being stopped");
    // First what may fail: an anchor that can't be read must not leave a stack without processes.
    const tenants = enrolledTenants(o.home);
    makeRunFolders(o.home, tenants);
    await this.#stopChildren();
    Object.assign(o, { tenants });
    this.#startChildren();
    await this.#awaitBroker();
  }

  async status(): Promise<StackStatus> {
    const o = this.#options;
    const states = [{ name: "supervisor", pid: process.pid, restarts: 0 }, ...this.#children.map((each) => each.state)];
    const processes = states.map(({ name, pid, restarts }) => ({
      name,
      restarts,
      ...(pid === undefined ? {} : { pid, pssMib: pssMib(pid) }),
    }));
    const broker = await this.#brokerStatus();
    return {
      home: o.home.paths.home,
      stack: o.home.stack,
      version,
      startedAt: new Date(this.#facts.startedAtMs).toISOString(),
      ready: this.#ready,
      vmm: o.firecracker === undefined ? "QEMU" : `Firecracker ${o.firecracker.version}`,
      accelerator: o.accelerator,
      acceleratorReason: this.#facts.acceleratorReason,
      production: o.production,
      processes,
      tenants: o.tenants.map(({ anchor }) => ({ tenant: anchor.tenant, name: anchor.name })),
      broker,
      spools: spoolUse(o.home.paths.spool, o.tenants),
      notProtected: notProtected(o.accelerator, broker?.floor),
    };
  }

  async #stopChildren(): Promise<void> {
    // The broker first, so that nothing starts while the others go; the node agent, which it needs, last.
    for (const child of this.#children.splice(0).reverse()) await child[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    await this.#reloaded.catch(() => undefined);
    if (!this.#keepVms) await this.#broker.call("drain", {}, { timeoutMs: 60_000 }).catch(() => undefined);
    this.#broker[Symbol.dispose]();
    await this.#stopChildren();
    const { launcher, home } = this.#options;
    await reapServices(launcher, home.uidBase).catch((error: unknown) =>
      this.#facts.logger.log("error", "a process of a service stayed", { error: describeError(error) }),
    );
    for (const each of this.#servers) await each[Symbol.asyncDispose]();
    if (!this.#keepVms) removeRunFolders(this.#options.home);
  }
}
