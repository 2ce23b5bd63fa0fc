/** The broker: verifies what tenants signed, keeps the journal, drives each workspace. No root, no listener for guests. */
import type { DoctorSummary } from "@exai/api/host";
import { createLogger, systemClock, type TenantId } from "@exai/base";
import { serveIpc } from "@exai/ipc";
import { type Accelerator, loadImage } from "@exai/machine";
import { brokerContract } from "../contracts.ts";
import { HostError } from "../errors.ts";
import { readStdinConfig } from "../stdin-config.ts";
import { version } from "../version.ts";
import { openTenantAudit, type TenantAudit } from "./audit.ts";
import { Broker } from "./broker.ts";
import { Capacity } from "./capacity.ts";
import { type BrokerConfig, brokerConfig } from "./config.ts";
import { ControlClient } from "./control-client.ts";
import { Endpoints } from "./endpoints.ts";
import { Journal } from "./journal.ts";
import { PollLoop } from "./poll-loop.ts";
import { serveStatus } from "./status.ts";

const stop = new AbortController();
const config = await readStdinConfig(brokerConfig, () => stop.abort());
const logger = createLogger({ process: "broker", write: (line) => void process.stderr.write(line) });
const clock = systemClock;
process.once("SIGTERM", () => stop.abort());
// Whatever hangs: two brokers of one stack must never meet.
stop.signal.addEventListener("abort", () => setTimeout(() => process.exit(0), 3_000).unref(), { once: true });

const capacity = new Capacity(config.capacity);
const audits = await openAudits();
const control = new ControlClient({
  socket: config.controlSocket,
  host: config.host.host,
  hostKeyFile: config.hostKeyFile,
  clock,
});
const broker = new Broker({
  config,
  journal: new Journal(config.journalFolder),
  capacity,
  clock,
  logger,
  accelerator: acceleratorOf(config),
  audits,
  loadImage: (digest) => loadImage(config.imageStore, digest, config.releases),
  tell: (observation, passing) => loop.tell(observation, passing),
});
const endpoints = new Endpoints(broker.tenants, () => loop.nudge());
const loop: PollLoop = new PollLoop({
  host: config.host.host,
  poll: (body, signal) => control.poll(body, signal),
  apply: (answer) => broker.apply(answer),
  endpoints: () => endpoints.current,
  clock,
  logger,
  signal: stop.signal,
});
await using _status = await serveIpc({
  path: config.statusSocket,
  contract: brokerContract,
  handlers: serveStatus({ broker, capacity, loop, capacityMib: config.capacity.memoryMib, checked }),
});
const { accelerator, production } = config;
for (const audit of audits.values()) audit.host("host.start", config.host.host, { version, accelerator, production });
if (config.checked !== undefined) checked(config.checked);
broker.adopt();
const forgetting = setInterval(() => broker.forget(), 3_600_000);
await Promise.all([loop.run(), endpoints.run(stop.signal)]);
clearInterval(forgetting);
for (const audit of audits.values()) {
  audit.host("host.stop", config.host.host);
  await audit[Symbol.asyncDispose]();
}
process.exit(0);

function checked(summary: DoctorSummary): void {
  for (const audit of audits.values()) audit.checked(config.host.host, summary);
}

async function openAudits(): Promise<Map<TenantId, TenantAudit>> {
  const opened = new Map<TenantId, TenantAudit>();
  for (const { anchor } of config.tenants) {
    const { spoolFolder, spoolQuotaBytes: quotaBytes } = config;
    opened.set(anchor.tenant, await openTenantAudit({ spoolFolder, quotaBytes, anchor, clock }));
  }
  return opened;
}

function acceleratorOf({ accelerator, tscKhz }: BrokerConfig): Accelerator {
  if (accelerator === "kvm") return { kind: "kvm" };
  if (tscKhz === undefined)
    throw new HostError("platform", "emulation needs the frequency of the host's time-stamp counter");
  return { kind: "tcg", tscKhz };
}
