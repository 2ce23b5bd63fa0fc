import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { WorkspaceId } from "@exai/base";
import type { BootFiles, LaunchPlan, MachineExit, MachineSize } from "@exai/machine";
import { hostileGuest } from "../../tools/build/hostile-guest.ts";
import type { HostFixture } from "../vm/host-fixture.ts";
import { processesOf } from "../vm/launcher-fixture.ts";
import type { MachineDriver } from "./machine-driver.ts";

/** native/hostile on a machine of its own: what it did, what its VMM came to, and what that left. */
export interface HostileHost {
  readonly driver: MachineDriver;
  /** What the honest guests boot from. */
  readonly image: BootFiles;
  plan(image: BootFiles, size: MachineSize): LaunchPlan;
}

export interface Attack {
  /** As native/hostile/main.rs names it. */
  name: string;
  seed?: number;
  rounds?: number;
  /** A VMM that lives longer is killed. */
  longestMs?: number;
}

/** How one VMM ended. */
export interface Ending {
  /** The device that was attacked then, as index and virtio type; none when all were through. */
  at?: string;
  exit: MachineExit;
  killed: boolean;
  /** Bytes of everything that it made the host keep. */
  logBytes: number;
  console: string;
  /** What the VMM said of it. */
  log: string;
}

export interface Outcome {
  /** Virtio types of the devices that were attacked. */
  devices: string[];
  /** Virtio types of the devices that had served an honest request before: the attack reached them. */
  served: string[];
  endings: Ending[];
}

const size = { cpus: 1, memoryMib: 128 };

/** Launches a guest that does this one thing. */
export function launchHostile({ driver, image, plan }: HostileHost, words: string) {
  const hostile = { ...image, kernel: hostileGuest(), commandLine: `${words} ram=${size.memoryMib}` };
  return driver.launch({ ...size, diskMib: 64 }, plan(hostile, size));
}

/** Attacks every device. A VMM that dies of it is followed by another, whose guest goes on with the next device. */
export async function attack(host: HostileHost, of: Attack): Promise<Outcome> {
  const { name, seed = 1, rounds = 200, longestMs = 20_000 } = of;
  const outcome: Outcome = { devices: [], served: [], endings: [] };
  for (let from = 0; ; ) {
    const vm = await launchHostile(host, `hostile=${name} seed=${seed} rounds=${rounds} from=${from}`);
    const ended = await vm.machine.awaitExit(longestMs);
    const exit = ended ?? (await vm.machine.kill());
    const text = await vm.console();
    const through = /^hostile: end$/m.test(text);
    const seen = parse(text);
    const last = seen.at(-1);
    outcome.endings.push({
      ...(through || last === undefined ? {} : { at: `${last.index}:${last.type}` }),
      exit,
      killed: ended === undefined,
      logBytes: logBytes(host.driver.host, vm.workspace),
      console: text,
      log: logsOf(vm.folder),
    });
    outcome.devices.push(...seen.map(({ type }) => type));
    outcome.served.push(...seen.filter(({ served }) => served).map(({ type }) => type));
    await vm.machine.destroy();
    const left = processesOf(vm.uid);
    if (left.length > 0) throw new Error(`after '${name}' runs ${JSON.stringify(left)}`);
    if (through) return outcome;
    if (last === undefined) throw new Error(`'${name}' from device ${from} never began: ${text.slice(-500)}`);
    from = last.index + 1;
  }
}

/** `hostile: NAME device 3 type 19`, then `hostile: queue 0 served 1` for each queue. */
function parse(console: string): { index: number; type: string; served: boolean }[] {
  const [, ...parts] = console.split(/^hostile: (?=\S+ device \d)/m);
  return parts.map((part) => {
    const [, index, type = ""] = /^\S+ device (\d+) type (\d+)$/m.exec(part) ?? [];
    return { index: Number(index), type, served: /^hostile: queue \d+ served [1-9]/m.test(part) };
  });
}

/** Console, errors, log and metrics: all that a guest and its VMM can make the host keep. */
export function logBytes({ config, tenants }: HostFixture, workspace: WorkspaceId): number {
  const runs = tenants.map((tenant) => join(config.runFolder, "t", tenant, "vm", workspace));
  const folders = [join(config.vmsFolder, workspace), ...runs];
  const files = folders.flatMap(filesOf).filter((path) => /(\.log|metrics\.json)(\.1)?$/.test(path));
  return files.reduce((sum, path) => sum + (statSync(path, { throwIfNoEntry: false })?.size ?? 0), 0);
}

const logsOf = (folder: string): string =>
  filesOf(folder)
    .filter((path) => /(vmm|firecracker)\.log$/.test(path))
    .map((path) => readFileSync(path, "utf8").slice(-5000))
    .join("\n");

function filesOf(folder: string): string[] {
  try {
    return readdirSync(folder).map((name) => join(folder, name));
  } catch {
    return []; // of another tenant
  }
}
