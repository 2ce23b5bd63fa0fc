import type { DeviceReports, FloorState } from "@exai/api/host";
import { expect, test } from "vitest";
import type { Broker } from "./broker.ts";
import type { Capacity } from "./capacity.ts";
import type { PollLoop } from "./poll-loop.ts";
import { serveStatus } from "./status.ts";

test("the node agent is asked for everything at once: who waits for the status waits for one time limit", async () => {
  const asked = { devices: Promise.withResolvers<void>(), floor: Promise.withResolvers<void>() };
  const broker = {
    hosted: new Map(),
    // Each answers when the other one was asked, too.
    devices: async (): Promise<DeviceReports> => {
      asked.devices.resolve();
      await asked.floor.promise;
      return { reports: [], more: 0 };
    },
    floor: async (): Promise<FloorState | undefined> => {
      asked.floor.resolve();
      await asked.devices.promise;
      return undefined;
    },
  } as unknown as Broker;
  const capacity = { promisedMib: 0, promisedCpus: 0 } as Capacity;
  const loop = { connected: true } as PollLoop;
  const { status } = serveStatus({ broker, capacity, capacityMib: 1, loop, checked: () => undefined });
  expect(await status({}, new AbortController().signal)).toMatchObject({ controlConnected: true, workspaces: [] });
}, 2_000);
