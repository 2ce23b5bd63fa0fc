import { chmodSync, chownSync } from "node:fs";
import { channelContract } from "@exai/api/host";
import type { Logger } from "@exai/base";
import { type Handlers, serveIpc } from "@exai/ipc";
import { TenantError } from "../errors.ts";
import { noVm } from "./guest-link.ts";
import type { Sessions } from "./sessions.ts";

export interface AdminOptions {
  readonly socket: string;
  /** Group that may connect besides this process's own user. */
  readonly gid: number;
  readonly sessions: Sessions;
  readonly url: string;
  readonly logger: Logger;
}

/** Serves `channelContract` to the broker. */
export async function serveAdmin(o: AdminOptions): Promise<AsyncDisposable> {
  const handlers: Handlers<typeof channelContract> = {
    awaitReady: async ({ workspace, timeoutMs }, signal) => {
      const guest = await o.sessions.acquire(workspace, { timeoutMs, signal });
      const { kernelRelease, agentVersion, initUs, readyUs } = guest.hello;
      return {
        kernelRelease: kernelRelease.slice(0, 100).toWellFormed(),
        agentVersion: agentVersion.slice(0, 100).toWellFormed(),
        initUs: Number(initUs),
        readyUs: Number(readyUs),
      };
    },
    shutdown: async ({ workspace, graceMs }, signal) => {
      const guest = o.sessions.peek(workspace);
      if (guest === undefined) throw o.sessions.has(workspace) ? notReady() : noVm();
      await guest.machine.shutdown({ graceMs, reboot: false }, { signal, timeoutMs: graceMs + 5_000 });
      return {};
    },
    hello: async () => ({ url: o.url, pid: process.pid }),
  };
  const server = await serveIpc({
    path: o.socket,
    contract: channelContract,
    handlers,
    maxInFlight: 1024,
    onError: () => o.logger.log("warn", "a call of the broker broke off"),
  });
  chownSync(o.socket, process.getuid?.() ?? 0, o.gid);
  chmodSync(o.socket, 0o660);
  return server;
}

const notReady = (): TenantError => new TenantError("not-ready", "the guest has not said hello");
