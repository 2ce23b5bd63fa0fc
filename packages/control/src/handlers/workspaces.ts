import type { IntentClaims } from "@exai/api";
import type { Clock, HostId, TenantId } from "@exai/base";
import { type ControlAnchors, PolicyError, verifyIntent } from "@exai/policy";
import { ControlError } from "../errors.ts";
import { type Handlers, ok } from "../http/handler.ts";
import type { Notifier } from "../notifier.ts";
import { schedule } from "../schedule.ts";
import { type Answer, topicOf } from "../state/idempotency.ts";
import type { Store } from "../state/store.ts";

export interface Services {
  readonly store: Store;
  readonly notifier: Notifier;
  readonly anchors: ControlAnchors;
  readonly clock: Clock;
  readonly hosts: readonly HostId[];
}

const defaultPage = 100;

type Owned = "createWorkspace" | "addIntent" | "haltWorkspace" | "getWorkspace" | "listWorkspaces";

/** What tenants do with workspaces; and the operator's halt. */
export function workspaceHandlers(s: Services): Pick<Handlers, Owned> {
  return {
    createWorkspace: async ({ principal, body, call }) => {
      const claims = await verified(s, principal.tenant, body.intent);
      if (claims.act !== "create")
        throw new ControlError("intent-refused", `the intent must create, not ${claims.act}`);
      const host = schedule(await s.store.loads(s.hosts), claims.spec);
      if (host === undefined) throw new ControlError("too-many-workspaces", "no host takes more; destroy some first");
      return woken(s, await s.store.create(call, { jws: body.intent, claims }, host));
    },
    addIntent: async ({ principal, params, body, call }) => {
      const claims = await verified(s, principal.tenant, body.intent);
      if (claims.sub !== params.id) throw new ControlError("intent-refused", "the intent is for another workspace");
      return woken(s, await s.store.append(call, { jws: body.intent, claims }));
    },
    haltWorkspace: async ({ principal, params, body }) =>
      woken(s, await s.store.halt(principal.host, params.id, body.halt)),
    getWorkspace: async ({ principal, params, query, gone }) => {
      using news = s.notifier.subscribe(topicOf.workspace(params.id), { role: "tenant", id: principal.tenant });
      const until = s.clock.monotonicMs() + (query.waitMs ?? 0);
      for (;;) {
        const leftMs = until - s.clock.monotonicMs();
        const after = leftMs <= 0 || gone.aborted ? undefined : (query.waitAfter ?? 0);
        const found = await s.store.get(principal.tenant, params.id, after);
        if (found !== undefined) return ok(found);
        await news.wait(leftMs, gone);
      }
    },
    listWorkspaces: async ({ principal, query }) =>
      ok(
        await s.store.list({
          tenant: principal.tenant,
          limit: query.limit ?? defaultPage,
          cursor: query.cursor,
          name: query.name,
          labels: query.label ?? [],
          ended: query.state === "all",
        }),
      ),
  };
}

/** Refuses early what no host would take. The host checks again: it does not trust this process. */
async function verified(s: Services, tenant: TenantId, jws: string): Promise<IntentClaims> {
  const anchor = s.anchors.tenants.get(tenant);
  if (anchor === undefined) throw new ControlError("forbidden", "this tenant is not enrolled any more");
  try {
    return await verifyIntent(jws, anchor, s.clock.nowMs());
  } catch (error) {
    if (error instanceof PolicyError) throw new ControlError("intent-refused", error.message, { cause: error });
    throw error;
  }
}

/** Wakes whoever waits for what was just committed. */
function woken(s: Services, { status, body, wake }: Answer): { status: number; json: string } {
  for (const topic of wake) s.notifier.notify(topic);
  return { status, json: body };
}
