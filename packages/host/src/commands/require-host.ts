import { isAbsolute } from "node:path";
import { requirements, thisSystem } from "../doctor/requirements.ts";
import { HostError } from "../errors.ts";
import type { UpOptions } from "./up.ts";

/** Refuses a host on which nothing can start, with the first thing that it lacks. @throws HostError */
export function requireHost(options: UpOptions, system = thisSystem()): void {
  if (!isAbsolute(options.home)) throw new HostError("home", "EXAI_HOME must be an absolute path");
  const lacking = requirements(options.imageStore, system).find(({ ok }) => !ok);
  if (lacking !== undefined) throw new HostError(lacking.code, `${lacking.found}; ${lacking.remedy}`);
}
