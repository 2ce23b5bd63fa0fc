import { resolve } from "node:path";
import { chooseAccelerator } from "../doctor/accelerator.ts";
import { type Check, type CheckResult, runCheck } from "../doctor/check.ts";
import { hostChecks } from "../doctor/host-checks.ts";
import { requirementChecks } from "../doctor/requirements.ts";
import { releaseKeysToBe } from "../enrol/releases.ts";
import { findHome } from "../home/home.ts";
import type { HomePaths } from "../home/paths.ts";
import type { CommandIo, HomeOption } from "./io.ts";

export interface DoctorOptions extends HomeOption {
  imageStore: string;
}

/** Runs every host check, each with reason and remedy. Exit code 1 when one of severity `fail` is not ok. */
export async function doctorCommand(options: DoctorOptions, io: CommandIo): Promise<number> {
  const home = resolve(options.home);
  const results: CheckResult[] = [];
  for (const check of [
    ...requirementChecks(options.imageStore),
    ...hostChecks(home),
    kvmCheck(options.imageStore, ownHome(home)),
  ]) {
    const result = await runCheck(check);
    results.push(result);
    if (!io.json) io.stdout(render(result));
  }
  const failed = results.filter((each) => !each.ok && each.severity === "fail");
  if (io.json) io.stdout(`${JSON.stringify({ version: 1, ok: failed.length === 0, checks: results })}\n`);
  else io.stdout(failed.length === 0 ? "this host can run exai\n" : `${failed.length} checks must be mended first\n`);
  return failed.length === 0 ? 0 : 1;
}

/** Answers are kept, and anchors read, in a home that root alone can change; any other is left alone. */
function ownHome(path: string): HomePaths | undefined {
  try {
    return findHome(path).paths;
  } catch {
    return undefined;
  }
}

function kvmCheck(imageStore: string, home: HomePaths | undefined): Check {
  return {
    id: "kvm-guest",
    severity: "warn",
    reason: "a device that opens is no proof: only a guest that reaches 64-bit user space is",
    remedy:
      "enable virtualisation in the firmware, or use a host that is not itself a VM without nested virtualisation",
    async look() {
      const chosen = await chooseAccelerator(imageStore, releaseKeysToBe(imageStore, home?.releases), home?.probe);
      return {
        ok: chosen.accelerator === "kvm",
        found: chosen.accelerator === "kvm" ? chosen.reason : `emulation: development only – ${chosen.reason}`,
      };
    },
  };
}

function render(r: CheckResult): string {
  const mark = r.ok ? "ok  " : r.severity;
  const head = `${mark} ${r.id.padEnd(14)} ${r.found}\n`;
  return r.ok ? head : `${head}     why: ${r.reason}\n     do:  ${r.remedy}\n`;
}
