import { chmodSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { DeviceReport } from "@exai/api/host";
import { Gauge, Registry } from "prom-client";
import type { StackStatus } from "../contracts.ts";

type MakeGauge = <L extends string>(name: string, help: string, labelNames: L[]) => Gauge<L>;

/** A VMM's own word, of its last minutes: sums that also fall. Only what is not 0, since every workspace would be a series. */
function deviceGauges(gauge: MakeGauge, reports: readonly DeviceReport[]): void {
  const throttled = gauge("exai_vmm_throttled", "Times that a device's rate limiter stopped it, in the last minutes.", [
    "workspace",
    "device",
  ]);
  const failed = gauge(
    "exai_vmm_failed",
    "Requests of a guest that a device could not carry out, in the last minutes.",
    ["workspace", "device"],
  );
  const filtered = gauge("exai_vmm_filtered", "System calls that a VMM's filter stopped.", ["workspace"]);
  const lostLog = gauge("exai_vmm_lost_log_lines", "Lines missing in a VMM's log, in the last minutes.", ["workspace"]);
  for (const { workspace, ...report } of reports) {
    for (const [device, count] of Object.entries(report.throttled)) {
      if (count > 0) throttled.set({ workspace, device }, count);
    }
    for (const [device, count] of Object.entries(report.failed))
      if (count > 0) failed.set({ workspace, device }, count);
    if (report.filtered > 0) filtered.set({ workspace }, report.filtered);
    if (report.lostLog > 0) lostLog.set({ workspace }, report.lostLog);
  }
}

/** Prometheus text (exposition format 0.0.4) of one moment. Counts and sizes only; nothing of a tenant's content. */
async function renderMetrics(status: StackStatus): Promise<string> {
  const registry = new Registry();
  const gauge: MakeGauge = (name, help, labelNames) => new Gauge({ name, help, labelNames, registers: [registry] });

  const pss = gauge("exai_process_pss_bytes", "Proportional set size of each process of the stack.", ["process"]);
  const restarts = gauge("exai_process_restarts", "Times that the supervisor started a process again.", ["process"]);
  for (const each of status.processes) {
    pss.set({ process: each.name }, Math.round((each.pssMib ?? 0) * 2 ** 20));
    restarts.set({ process: each.name }, each.restarts);
  }
  const spools = gauge("exai_spool_bytes", "Size of an audit log on this host.", ["tenant", "writer"]);
  const quotas = gauge("exai_spool_quota_bytes", "Where it lets nothing be granted any more.", ["tenant", "writer"]);
  for (const { tenant, writer, bytes, quotaBytes } of status.spools) {
    spools.set({ tenant, writer }, bytes);
    quotas.set({ tenant, writer }, quotaBytes);
  }
  gauge("exai_control_connected", "1 while the control plane answers the broker.", []).set(
    status.broker?.controlConnected === true ? 1 : 0,
  );
  if (status.broker !== undefined) {
    const workspaces = gauge("exai_workspaces", "Workspaces on this host by phase.", ["phase"]);
    for (const [phase, all] of Map.groupBy(status.broker.workspaces, (each) => each.phase))
      workspaces.set({ phase }, all.length);
    gauge("exai_workspaces_quarantined", "Workspaces that the control plane does not know.", []).set(
      status.broker.workspaces.filter((each) => each.quarantined).length,
    );
    gauge("exai_cpus_promised", "Virtual CPUs of running microVMs.", []).set(status.broker.promisedCpus);
    gauge("exai_cores", "Cores for virtual CPUs, one each; 0 where the floor is not enforced.", []).set(
      status.broker.floor?.enforced === true ? status.broker.floor.cores : 0,
    );
    deviceGauges(gauge, status.broker.devices.reports);
    gauge("exai_memory_promised_bytes", "Memory promised to running microVMs.", []).set(
      status.broker.promisedMib * 2 ** 20,
    );
    gauge("exai_memory_capacity_bytes", "Memory that may be promised.", []).set(status.broker.capacityMib * 2 ** 20);
  }
  return registry.metrics();
}

/** Serves `GET /metrics` on a UNIX socket that only root opens. */
export async function serveMetrics(path: string, status: () => Promise<StackStatus>): Promise<AsyncDisposable> {
  const server = createServer((request, response) => {
    if (request.method !== "GET" || request.url !== "/metrics") {
      response.writeHead(404).end("metrics are at /metrics\n");
      return;
    }
    status()
      .then(renderMetrics)
      .then(
        (text) => response.writeHead(200, { "content-type": "text/plain; version=0.0.4" }).end(text),
        () => response.writeHead(503).end("the stack does not answer\n"),
      );
  });
  rmSync(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  chmodSync(path, 0o600);
  return {
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      rmSync(path, { force: true });
    },
  };
}
