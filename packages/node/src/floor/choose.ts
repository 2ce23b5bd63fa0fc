import type { Core } from "./topology.ts";

/** Cores by whose they are; docs/internals/floor.md says why. */
export interface Division {
  readonly host: readonly Core[];
  /** CPUs of the helper threads of all microVMs. */
  readonly shared: readonly number[];
  /** One for each virtual CPU, taken ones among them. */
  readonly given: readonly Core[];
  readonly free: readonly Core[];
}

interface InUse {
  /** CPUs of virtual CPUs that run. */
  readonly taken: ReadonlySet<number>;
  /** CPUs of the helper threads of what runs; undefined when nothing does. */
  readonly shared: readonly number[] | undefined;
}

export const fewestCores = 3;

/**
 * What is in use stays whose it is, also when cores that were offline make the order another one.
 * @returns undefined when there are too few cores for a floor
 */
export function divide(cores: readonly Core[], { taken, shared }: InUse): Division | undefined {
  if (cores.length < fewestCores) return undefined;
  const each = Math.ceil(cores.length / 16);
  const inUse = (core: Core) => core.cpus.some((cpu) => taken.has(cpu) || shared?.includes(cpu) === true);
  const unused = cores.filter((core) => !inUse(core));
  const host = unused.slice(0, each);
  const helpers = shared === undefined ? unused.slice(each, 2 * each).flatMap(({ cpus }) => cpus) : shared;
  const free = unused.slice(shared === undefined ? 2 * each : each);
  const busy = cores.filter((core) => core.cpus.some((cpu) => taken.has(cpu)));
  return { host, shared: helpers, given: [...busy, ...free], free };
}

/**
 * Cores for one microVM, all of one NUMA node if one has enough: of those the one with the fewest free, so that the others
 * stay whole for larger ones. Else from as few nodes as do.
 */
export function choose(free: readonly Core[], count: number): Core[] | undefined {
  if (free.length < count) return undefined;
  const nodes = [...Map.groupBy(free, ({ node }) => node).values()].sort((a, b) => a.length - b.length);
  const whole = nodes.find((cores) => cores.length >= count);
  return (whole ?? nodes.reverse().flat()).slice(0, count);
}
