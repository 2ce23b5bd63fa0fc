import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { tenantAnchor } from "@exai/api/host";
import { isId } from "@exai/base";
import { Client } from "@exai/sdk";
import { type Globals, homeFolder } from "./context.ts";
import { usage } from "./errors.ts";

/** The tenant's client for the stack that the command line and environment name. */
export async function openClient(globals: Globals): Promise<Client> {
  const home = homeFolder(globals);
  if (globals.tenant !== undefined) return await Client.open({ home, tenant: tenantId(home, globals.tenant) });
  if (globals.home === undefined && process.env["EXAI_PROFILE"]) return await Client.open({});
  return await Client.open({ home });
}

/** By id, or by the name under which a one-machine stack enrolled it. */
function tenantId(home: string, tenant: string): string {
  if (isId(tenant)) return tenant;
  const folder = join(home, "anchors", "tenants");
  const files = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith(".json")) : [];
  for (const file of files) {
    const anchor = tenantAnchor.safeParse(JSON.parse(readFileSync(join(folder, file), "utf8")));
    if (anchor.success && anchor.data.name === tenant) return anchor.data.tenant;
  }
  throw usage(`there is no tenant '${tenant}' in ${home}; see 'exai tenant ls'`);
}
