import { resolve } from "node:path";
import type { DeviceReport } from "@exai/api/host";
import { createIpcClient, IpcError } from "@exai/ipc";
import { type StackStatus, supervisorContract } from "../contracts.ts";
import { HostError } from "../errors.ts";
import { findHome } from "../home/home.ts";
import { runPaths } from "../home/paths.ts";
import type { CommandIo, HomeOption } from "./io.ts";

/** Shows the stack: processes, workspaces, and what is not protected. Exit code 1 when it is not whole. */
export async function statusCommand(options: HomeOption, io: CommandIo): Promise<number> {
  const status = await readStatus(resolve(options.home));
  if (io.json) io.stdout(`${JSON.stringify(status)}\n`);
  else io.stdout(renderStatus(status));
  return status.ready && status.broker !== undefined ? 0 : 1;
}

export async function readStatus(home: string): Promise<StackStatus> {
  using supervisor = createIpcClient(runPaths(findHome(home).stack).supervisorSocket, supervisorContract);
  try {
    return await supervisor.call("status", {}, { timeoutMs: 10_000 });
  } catch (cause) {
    if (!(cause instanceof IpcError) || cause.code !== "connect") throw cause;
    throw new HostError("not-running", `no stack runs on ${home}; start one with 'exai up -d'`);
  }
}

const shownDevices = 10;

/** What a VMM says of its devices, in one line. */
function describeDevices({ fromMs, untilMs, throttled, failed, filtered, lostLog }: DeviceReport): string {
  const of = (counts: Readonly<Record<string, number>>, what: string): string[] =>
    Object.entries(counts).flatMap(([device, count]) => (count > 0 ? [`${device} ${what} ${count} times`] : []));
  const said = [
    ...(filtered > 0 ? ["its filter stopped a system call, which an honest VMM never makes"] : []),
    ...of(throttled, "held back"),
    ...of(failed, "could not serve the guest"),
    ...(lostLog > 0 ? [`${lostLog} lines lost of its log`] : []),
  ];
  const minutes = Math.min(60, Math.round(Math.max(0, untilMs - fromMs) / 60_000) + 1); // whatever it says the time is
  return `its VMM reports for ${minutes} min: ${said.join(", ")}`;
}

/** From here on it is said. */
const fullFrom = 0.8;

export function renderStatus(s: StackStatus): string {
  const lines = [
    `exai ${s.version} on ${s.home}, up since ${s.startedAt}${s.ready ? "" : " (starting)"}`,
    `vmm           ${s.vmm}`,
    `accelerator   ${s.accelerator}: ${s.acceleratorReason}`,
    `control plane ${s.broker?.controlConnected === true ? "connected" : "away: workspaces go on, nothing new is scheduled"}`,
    `tenants       ${s.tenants.map((each) => each.name).join(", ")}`,
  ];
  const broker = s.broker;
  if (broker === undefined) lines.push("broker        not answering; it is being started again");
  else {
    const counts = Map.groupBy(broker.workspaces, (each) => each.phase);
    const phases = [...counts].map(([phase, all]) => `${all.length} ${phase}`).join(", ");
    lines.push(`workspaces    ${phases || "none"}; ${broker.promisedMib} of ${broker.capacityMib} MiB promised`);
    if (broker.floor?.enforced === true)
      lines.push(`cores         ${broker.promisedCpus} promised; ${broker.floor.about}`);
    for (const each of broker.workspaces.filter((one) => one.quarantined)) {
      lines.push(`  ${each.workspace} is not known to the control plane: kept, quarantined`);
    }
    const { reports, more: others } = broker.devices;
    for (const each of reports.slice(0, shownDevices)) lines.push(`  ${each.workspace}: ${describeDevices(each)}`);
    const more = others + reports.length - shownDevices;
    if (more > 0) lines.push(`  … and ${more} more whose VMM reports something; 'exai status --json' has more of them`);
  }
  for (const spool of s.spools.filter((each) => each.bytes > each.quotaBytes * fullFrom)) {
    const percent = Math.floor((spool.bytes * 100) / spool.quotaBytes);
    lines.push(`audit log of ${spool.tenant} by the ${spool.writer} is ${percent} % full: at 100 % nothing is granted`);
  }
  lines.push("processes");
  for (const p of s.processes) {
    const restarts = p.restarts > 0 ? `, started again ${p.restarts} times` : "";
    lines.push(
      `  ${p.name.padEnd(20)} ${p.pid === undefined ? "not running" : `pid ${p.pid}, ${p.pssMib ?? 0} MiB`}${restarts}`,
    );
  }
  lines.push("not protected");
  for (const each of s.notProtected) lines.push(`  - ${each}`);
  return `${lines.join("\n")}\n`;
}
