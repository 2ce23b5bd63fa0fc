import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newTenantId } from "@exai/base";
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
  broker: { controlConnected: true, promisedMib: 10, capacityMib: 20, promisedCpus: 3, workspaces: [] },
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
