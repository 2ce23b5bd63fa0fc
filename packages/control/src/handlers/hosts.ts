import { readFile } from "node:fs/promises";
import type { PollRequest } from "@exai/api";
import type { HostId } from "@exai/base";
import { ControlError } from "../errors.ts";
import { type Handlers, ok } from "../http/handler.ts";
import { topicOf } from "../state/idempotency.ts";
import type { Services } from "./workspaces.ts";

type Owned = "health" | "openapi" | "listEndpoints" | "listHosts" | "pollHost";

const document = new URL("../../../../spec/openapi.json", import.meta.url);

/** What hosts do, and what anybody may know. */
export function hostHandlers(s: Services): Pick<Handlers, Owned> {
  const lastSeenMs = new Map<HostId, number>();
  const toldEndpoints = new Map<HostId, string>();

  /** Most polls bring no news: those cost no transaction. */
  const report = async (host: HostId, body: PollRequest) => {
    const endpoints = JSON.stringify(body.endpoints);
    const { observations } = body;
    const known = toldEndpoints.get(host) === endpoints;
    if (observations.length === 0 && known) return;
    const said = known ? { observations } : { observations, endpoints: body.endpoints };
    const changed = await s.store.report(host, said, s.clock.nowMs());
    toldEndpoints.set(host, endpoints);
    for (const id of changed) s.notifier.notify(topicOf.workspace(id));
  };

  return {
    health: async () => {
      await s.store.ping();
      return ok({ status: "ok", version: 1 });
    },
    openapi: async () => ({ status: 200, json: await readFile(document, "utf8") }),
    listEndpoints: async ({ principal }) => ok({ items: await s.store.endpoints(principal.tenant) }),
    listHosts: async () => ok({ items: s.hosts.map((id) => hostItem(id, lastSeenMs.get(id))) }),
    pollHost: async ({ principal, params, body, gone }) => {
      if (params.id !== principal.host || body.host !== principal.host) {
        throw new ControlError("forbidden", "a host polls for itself only");
      }
      lastSeenMs.set(principal.host, s.clock.nowMs());
      using news = s.notifier.subscribe(topicOf.host(principal.host), { role: "host", id: principal.host });
      await report(principal.host, body);
      const version = await s.store.version(principal.host);
      if (version === body.version) {
        if (body.waitMs === 0) return ok({ version });
        await news.wait(body.waitMs, gone);
      }
      return ok(await s.store.desired(principal.host));
    },
  };
}

const hostItem = (id: HostId, seenMs: number | undefined) => ({
  id,
  ...(seenMs === undefined ? {} : { lastSeenAt: new Date(seenMs).toISOString() }),
});
