import { setTimeout as delay } from "node:timers/promises";
import type { channelContract } from "@exai/api/host";
import type { TenantId } from "@exai/base";
import type { IpcClient } from "@exai/ipc";

const firstMs = 20;
const settledMs = 2_000;

/**
 * Where each tenant's channel listens. A channel that was started again has another port, so it is asked again and
 * again; clients trust its certificate, never the address.
 */
export class Endpoints {
  readonly #tenants: ReadonlyMap<TenantId, { channel: IpcClient<typeof channelContract> }>;
  readonly #changed: () => void;
  readonly #urls = new Map<TenantId, string>();

  constructor(tenants: ReadonlyMap<TenantId, { channel: IpcClient<typeof channelContract> }>, changed: () => void) {
    this.#tenants = tenants;
    this.#changed = changed;
  }

  get current(): { tenant: TenantId; url: string }[] {
    return [...this.#urls].map(([tenant, url]) => ({ tenant, url }));
  }

  async run(signal: AbortSignal): Promise<void> {
    let waitMs = firstMs;
    while (!signal.aborted) {
      await Promise.all([...this.#tenants].map(([tenant, { channel }]) => this.#ask(tenant, channel)));
      waitMs = this.#urls.size < this.#tenants.size ? firstMs : Math.min(waitMs * 2, settledMs);
      await delay(waitMs, undefined, { signal }).catch(() => undefined);
    }
  }

  async #ask(tenant: TenantId, channel: IpcClient<typeof channelContract>): Promise<void> {
    const answer = await channel.call("hello", {}, { timeoutMs: 2_000 }).catch(() => undefined);
    if (answer === undefined || this.#urls.get(tenant) === answer.url) return;
    this.#urls.set(tenant, answer.url);
    this.#changed();
  }
}
