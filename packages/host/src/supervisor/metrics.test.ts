import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DeviceReport } from "@exai/api/host";
import { newTenantId, newWorkspaceId } from "@exai/base";
import { afterAll, beforeAll, expect, test } from "vitest";
import { renderStatus } from "../commands/status.ts";
import type { StackStatus } from "../contracts.ts";
import type { EnrolledTenant } from "../enrol/tenants.ts";
import { serveMetrics } from "./metrics.ts";
import { spoolUse } from "./spools.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "exai-metrics-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const remarkable: DeviceReport = {
  workspace: newWorkspaceId(),
  fromMs: 60_000,
  untilMs: 240_000,
  throttled: { disk: 12, entropy: 0 },
  failed: { disk: 0, entropy: 0, vsock: 3, balloon: 0 },
  filtered: 1,
  lostLog: 5,
};

const status: StackStatus = {
  home: "/var/lib/exai",
  stack: "abcdefgh",
  version: "0.1.0",
  startedAt: new Date(0).toISOString(),
  ready: true,
  vmm: "QEMU",
  accelerator: "kvm",
  acceleratorReason: "",
  production: false,
  processes: [{ name: "broker", pid: 1, restarts: 2, pssMib: 40 }],
  tenants: [],
  broker: {
    controlConnected: true,
    promisedMib: 10,
    capacityMib: 20,
    promisedCpus: 3,
    workspaces: [],
    devices: { reports: [remarkable], more: 0 },
  },
  spools: [
    { tenant: "acme", writer: "broker", bytes: 90, quotaBytes: 100 },
    { tenant: "acme", writer: "channel", bytes: 10, quotaBytes: 100 },
  ],
  notProtected: [],
};

const get = (socketPath: string, path: string) =>
  new Promise<{ code: number; text: string }>((resolve, reject) => {
    request({ socketPath, path }, (answer) => {
      let text = "";
      answer.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      answer.on("end", () => resolve({ code: answer.statusCode ?? 0, text }));
    })
      .on("error", reject)
      .end();
  });

test("metrics come over a socket that only root opens", async () => {
  const path = join(folder, "metrics.sock");
  await using _served = await serveMetrics(path, async () => status);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const { code, text } = await get(path, "/metrics");
  expect(code).toBe(200);
  expect(text).toContain('exai_process_restarts{process="broker"} 2');
  expect(text).toContain('exai_spool_bytes{tenant="acme",writer="broker"} 90');
  expect((await get(path, "/other")).code).toBe(404);
});

test("a stack that does not answer is no metric of zero", async () => {
  const path = join(folder, "away.sock");
  await using _served = await serveMetrics(path, async () => Promise.reject(new Error("away")));
  expect((await get(path, "/metrics")).code).toBe(503);
});

test("status warns of an audit log that is nearly full, and says what that means", () => {
  const text = renderStatus(status);
  expect(text).toMatch(/audit log of acme by the broker is 90 % full: at 100 % nothing is granted/);
  expect(text).not.toMatch(/by the channel/);
});

test("what VMMs report of their devices is shown, and nothing of what is 0", async () => {
  const path = join(folder, "devices.sock");
  await using _served = await serveMetrics(path, async () => status);
  const { text } = await get(path, "/metrics");
  const { workspace } = remarkable;
  expect(text.split("\n").filter((line) => line.startsWith("exai_vmm_"))).toEqual([
    `exai_vmm_throttled{workspace="${workspace}",device="disk"} 12`,
    `exai_vmm_failed{workspace="${workspace}",device="vsock"} 3`,
    `exai_vmm_filtered{workspace="${workspace}"} 1`,
    `exai_vmm_lost_log_lines{workspace="${workspace}"} 5`,
  ]);
  expect(renderStatus(status)).toContain(
    `  ${workspace}: its VMM reports for 4 min: its filter stopped a system call, which an honest VMM never makes, ` +
      "disk held back 12 times, vsock could not serve the guest 3 times, 5 lines lost of its log\n",
  );
});

test("a host full of reports stays readable", () => {
  if (status.broker === undefined) throw new Error("there is one");
  const devices = { reports: Array.from({ length: 200 }, () => remarkable), more: 7 };
  const text = renderStatus({ ...status, broker: { ...status.broker, devices } });
  expect(text.split("\n").filter((line) => line.includes("its VMM reports"))).toHaveLength(10);
  expect(text).toContain("and 197 more whose VMM reports something; 'exai status --json' has more of them");
});

test("the use of a spool is the size of its files", () => {
  const tenant = newTenantId();
  mkdirSync(join(folder, tenant, "broker"), { recursive: true });
  writeFileSync(join(folder, tenant, "broker", "seg-1.spool"), "x".repeat(1000));
  const enrolled = { anchor: { tenant, name: "acme" } } as unknown as EnrolledTenant;
  expect(spoolUse(folder, [enrolled]).map(({ writer, bytes }) => [writer, bytes])).toEqual([
    ["broker", 1000],
    ["channel", 0],
  ]);
});
