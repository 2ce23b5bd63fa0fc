import type { DoctorSummary } from "@exai/api/host";
import type { Handlers } from "@exai/ipc";
import type { brokerContract } from "../contracts.ts";
import type { Broker } from "./broker.ts";
import type { Capacity } from "./capacity.ts";
import type { PollLoop } from "./poll-loop.ts";

interface StatusOptions {
  broker: Broker;
  capacity: Capacity;
  capacityMib: number;
  loop: PollLoop;
  /** Takes what was found of this host into the audit logs. */
  checked(summary: DoctorSummary): void;
}

const drainMs = 30_000;

/** What the supervisor may ask of the broker. */
export function serveStatus(options: StatusOptions): Handlers<typeof brokerContract> {
  const { broker, capacity, capacityMib, loop } = options;
  return {
    checked: async (summary) => {
      options.checked(summary);
      return {};
    },
    status: async () => {
      // At once: who asks waits for both no longer than for one.
      const [devices, floor] = await Promise.all([broker.devices(), broker.floor()]);
      return {
        devices,
        floor,
        controlConnected: loop.connected,
        promisedMib: capacity.promisedMib,
        capacityMib,
        promisedCpus: capacity.promisedCpus,
        workspaces: [...broker.hosted.values()]
          .map(({ entry }) => ({
            workspace: entry.workspace,
            tenant: entry.tenant,
            phase: entry.state.phase,
            ...("message" in entry.state && entry.state.message !== undefined ? { message: entry.state.message } : {}),
            quarantined: entry.quarantined,
          }))
          .filter((each) => each.phase !== "destroyed"),
      };
    },
    drain: async () => {
      const running = [...broker.hosted.values()].filter(({ entry }) => isUp(entry.state.phase));
      for (const each of running) each.drain();
      const untilMs = Date.now() + drainMs;
      while (running.some(({ entry }) => isUp(entry.state.phase)) && Date.now() < untilMs) {
        await new Promise((done) => setTimeout(done, 20));
      }
      return { stopped: running.length };
    },
  };
}

const isUp = (phase: string): boolean => ["booting", "running", "stopping", "destroying"].includes(phase);
