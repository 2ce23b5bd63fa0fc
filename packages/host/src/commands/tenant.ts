import { resolve } from "node:path";
import { createIpcClient } from "@exai/ipc";
import { supervisorContract } from "../contracts.ts";
import { enrolHost } from "../enrol/host.ts";
import { createLocalTenant, enrolledTenants } from "../enrol/tenants.ts";
import { HostError } from "../errors.ts";
import { openHome, readStackName } from "../home/home.ts";
import { runPaths } from "../home/paths.ts";
import type { CommandIo, HomeOption } from "./io.ts";

export interface TenantOptions extends HomeOption {
  action: "add" | "ls";
  name?: string | undefined;
  imageStore: string;
}

/** Enrols a tenant on this host with keys of its own, or lists who is enrolled. */
export async function tenantCommand(options: TenantOptions, io: CommandIo): Promise<number> {
  const path = resolve(options.home);
  readStackName(path);
  const home = openHome(path, Date.now());
  if (options.action === "ls") {
    const all = enrolledTenants(home).map(({ anchor }) => ({ tenant: anchor.tenant, name: anchor.name }));
    io.stdout(io.json ? `${JSON.stringify(all)}\n` : all.map((each) => `${each.tenant}  ${each.name}\n`).join(""));
    return 0;
  }
  const name = options.name ?? "";
  if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(name)) {
    throw new HostError(
      "enrolment",
      "a tenant's name holds 1 to 63 of a-z, 0-9 and -, and starts and ends with a letter or digit",
    );
  }
  const { anchor } = createLocalTenant(home, name, await enrolHost(home, Date.now()), options.imageStore);
  using supervisor = createIpcClient(runPaths(home.stack).supervisorSocket, supervisorContract);
  const running = await supervisor.call("reload", {}, { timeoutMs: 60_000 }).then(
    () => true,
    () => false, // no stack runs: it is taken up at the next start
  );
  const result = { tenant: anchor.tenant, name, running };
  io.stdout(
    io.json ? `${JSON.stringify(result)}\n` : `${anchor.tenant}  ${name}\nnext: exai --tenant ${name} run -- id\n`,
  );
  return 0;
}
