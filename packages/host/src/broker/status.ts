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
}

const drainMs = 30_000;

/** What the supervisor may ask of the broker. */
export function serveStatus({ broker, capacity, capacityMib, loop }: StatusOptions): Handlers<typeof brokerContract> {
  return {
    status: async () => ({
      controlConnected: loop.connected,
      promisedMib: capacity.promisedMib,
      capacityMib,
      workspaces: [...broker.hosted.values()]
        .map(({ entry }) => ({
          workspace: entry.workspace,
          tenant: entry.tenant,
          phase: entry.state.phase,
          ...("message" in entry.state && entry.state.message !== undefined ? { message: entry.state.message } : {}),
          quarantined: entry.quarantined,
        }))
        .filter((each) => each.phase !== "destroyed"),
    }),
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
