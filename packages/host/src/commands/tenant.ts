import { readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { type TenantAnchor, tenantAnchor } from "@exai/api/host";
import { createIpcClient, IpcError } from "@exai/ipc";
import { supervisorContract } from "../contracts.ts";
import { enrolHost } from "../enrol/host.ts";
import { createLocalTenant, enrolledTenants, enrolTenant } from "../enrol/tenants.ts";
import { HostError } from "../errors.ts";
import { findHome, openHome } from "../home/home.ts";
import { lockEnrolment } from "../home/lock.ts";
import { runPaths } from "../home/paths.ts";
import type { CommandIo, HomeOption } from "./io.ts";

export interface TenantOptions extends HomeOption {
  action: "add" | "enrol" | "ls";
  /** A name to `add`; a file that holds an anchor to `enrol`. */
  subject?: string | undefined;
  imageStore: string;
}

/** Enrols a tenant on this host, with keys made here or by itself elsewhere, or lists who is enrolled. */
export async function tenantCommand(options: TenantOptions, io: CommandIo): Promise<number> {
  const home = openHome(findHome(resolve(options.home)).paths.home, Date.now());
  if (options.action === "ls") {
    const all = enrolledTenants(home).map(({ anchor }) => ({ tenant: anchor.tenant, name: anchor.name }));
    io.stdout(io.json ? `${JSON.stringify(all)}\n` : all.map((each) => `${each.tenant}  ${each.name}\n`).join(""));
    return 0;
  }
  const subject = options.subject ?? "";
  using lock = await lockEnrolment(home.paths.home);
  const host = await enrolHost(home, Date.now());
  const { anchor } =
    options.action === "add"
      ? createLocalTenant(home, subject, host, options.imageStore)
      : enrolTenant(home, readAnchor(subject));
  lock[Symbol.dispose]();
  const { tenant, name } = anchor;
  const running = await reload(home.stack, name);
  const result = { tenant, name, running, host };
  const next =
    options.action === "add"
      ? `next: exai --tenant ${name} run -- id\n`
      : `this host, for the tenant's profile: ${JSON.stringify(host)}\n`;
  const when = running ? "" : "no stack runs here: the tenant is taken up by the next 'exai up'\n";
  io.stdout(io.json ? `${JSON.stringify(result)}\n` : `${tenant}  ${name}\n${when}${next}`);
  return 0;
}

/** @returns whether a stack runs. @throws HostError `child` when it did not take the tenant up, which stays enrolled */
async function reload(stack: string, name: string): Promise<boolean> {
  using supervisor = createIpcClient(runPaths(stack).supervisorSocket, supervisorContract);
  try {
    await supervisor.call("reload", {}, { timeoutMs: 60_000 });
    return true;
  } catch (cause) {
    if (cause instanceof IpcError && cause.code === "connect") return false;
    const what = `tenant '${name}' is enrolled, but the stack that runs did not take it up`;
    throw new HostError("child", `${what}; see 'exai status', then 'exai down' and 'exai up -d'`, { cause });
  }
}

/** Longest file that is taken for an anchor; a good one has some 250 bytes. */
const anchorBytes = 4096;
const shape = "is not a tenant's anchor: {tenant, name, signingKey, logKey}, keys as base64url of their 32 bytes";

function readAnchor(file: string): TenantAnchor {
  const bad = (why: string, cause?: unknown) => new HostError("enrolment", `${file} ${why}`, { cause });
  let text: string;
  try {
    if (statSync(file).size > anchorBytes) throw bad("is too long for a tenant's anchor");
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw cause instanceof HostError ? cause : bad("can't be read; give the tenant's anchor as a file", cause);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw bad(shape, cause);
  }
  const anchor = tenantAnchor.safeParse(value);
  if (anchor.success) return anchor.data;
  const ofName = anchor.error.issues.find((issue) => issue.path[0] === "name" && issue.code === "invalid_format");
  throw ofName === undefined ? bad(shape, anchor.error) : new HostError("enrolment", ofName.message);
}
