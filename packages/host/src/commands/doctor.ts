import { resolve } from "node:path";
import type { DoctorMode, DoctorReport, DoctorResult } from "@exai/api/host";
import { createIpcClient } from "@exai/ipc";
import { supervisorContract } from "../contracts.ts";
import { failures } from "../doctor/check.ts";
import { doctorContext } from "../doctor/context.ts";
import { examine, summaryOf } from "../doctor/examine.ts";
import type { FirecrackerChoice } from "../doctor/firecracker.ts";
import { findHome } from "../home/home.ts";
import { runPaths } from "../home/paths.ts";
import type { CommandIo, HomeOption } from "./io.ts";

export interface DoctorOptions extends HomeOption {
  imageStore: string;
  production: boolean;
  firecracker?: FirecrackerChoice;
}

/**
 * Runs every check of this mode, each with reason, remedy and the command that shows it; a stack that runs on the home
 * takes the result into its audit logs. Exit code 1 when the stack would not start.
 */
export async function doctorCommand(options: DoctorOptions, io: CommandIo): Promise<number> {
  const home = resolve(options.home);
  const mode: DoctorMode = options.production ? "production" : "development";
  const found = await examine(mode, await doctorContext({ ...options, home }));
  const report = { ...found, recorded: await record(home, found) };
  io.stdout(io.json ? `${JSON.stringify(report)}\n` : render(report));
  return report.ok ? 0 : 1;
}

/** By the supervisor, which root alone reaches; the broker is the one writer of a host's events. */
async function record(home: string, report: DoctorReport): Promise<boolean> {
  try {
    using supervisor = createIpcClient(runPaths(findHome(home).stack).supervisorSocket, supervisorContract);
    await supervisor.call("checked", summaryOf(report), { timeoutMs: 5_000 });
    return true;
  } catch {
    // No stack runs here, or we may not speak to it. What counts is what 'up' finds itself, and that is recorded.
    return false;
  }
}

const marks = { ok: "ok  ", warn: "warn", fail: "fail", unknown: "?   ", "not-applicable": "-   " } as const;

function render({ checks, mode, ok, recorded }: DoctorReport): string {
  const failed = failures(checks).length;
  const able = mode === "production" ? "this host can run exai in production" : "this host can run exai";
  const end = ok ? able : `${failed} ${failed === 1 ? "check" : "checks"} must be mended first`;
  return `${checks.map(renderCheck).join("")}${end}${recorded ? "; the audit log has it" : ""}\n`;
}

function renderCheck({ status, id, found, reason, remedy, command }: DoctorResult): string {
  const head = `${marks[status]} ${id.padEnd(18)} ${found}\n`;
  if (status === "ok" || status === "not-applicable") return head;
  return `${head}     why: ${reason}\n     do:  ${remedy}\n     see: ${command}\n`;
}
