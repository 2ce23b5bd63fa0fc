import type { Client, NewWorkspace } from "@exai/sdk";
import { resolveImage } from "../images.ts";
import type * as parse from "../text/parse.ts";

/** Options of `exai run` as commander gives them: parsed values. */
export interface RunOptions {
  readonly image: string;
  readonly cpus?: number;
  readonly memory?: number;
  readonly disk?: number;
  readonly timeout?: number;
  readonly ttl?: number;
  readonly env: readonly (readonly [string, string])[];
  readonly upload: readonly parse.Transfer[];
  readonly download: readonly parse.Transfer[];
  readonly user?: string;
  readonly cwd?: string;
  readonly interactive: boolean;
  readonly tty: boolean;
  readonly keep: boolean;
  readonly name?: string;
  readonly label: readonly (readonly [string, string])[];
}

const hour = 3600;

/**
 * When a client dies in the middle, nobody is left to destroy its workspace, so each has an end by consent: one hour after
 * the time limit, or a day without one.
 */
export function timeToLive(options: RunOptions): number {
  if (options.ttl !== undefined) return options.ttl;
  if (options.keep) return 0;
  return options.timeout === undefined ? 24 * hour : Math.ceil(options.timeout / 1000) + hour;
}

type Described = Pick<RunOptions, "image" | "cpus" | "memory" | "disk" | "ttl" | "name" | "label">;

/** What `run` and `ws create` ask for alike. */
export function newWorkspace(client: Client, options: Described): NewWorkspace {
  return {
    image: resolveImage(client.loaded.profile.imageStore, options.image),
    labels: Object.fromEntries(options.label),
    ...(options.cpus === undefined ? {} : { cpus: options.cpus }),
    ...(options.memory === undefined ? {} : { memoryMib: options.memory }),
    ...(options.disk === undefined ? {} : { diskMib: options.disk }),
    ...(options.ttl === undefined ? {} : { ttlSeconds: options.ttl }),
    ...(options.name === undefined ? {} : { name: options.name }),
  };
}
