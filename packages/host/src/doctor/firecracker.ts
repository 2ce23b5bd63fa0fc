import { createHash } from "node:crypto";
import { createReadStream, existsSync, statSync } from "node:fs";
import { pipeline } from "node:stream/promises";
import { HostError } from "../errors.ts";
import { run } from "../exec.ts";
import { requireOwnFile } from "./own-file.ts";

/** SHA-256 of the upstream project's own static executables for x86_64, by version: those that this build was run with. */
const known: Readonly<Record<string, string>> = {
  "1.12.1": "b99ea49b8d8b7bfa307d3845585d6a97f7642aa17a985749900370070d8ca930",
};
const usualPaths = ["/usr/local/bin/firecracker", "/usr/bin/firecracker"];
/** Oldest whose configuration file and snapshots are those that the driver writes and reads. */
const oldest = [1, 12] as const;
/** A guest that these restore may have a dead vsock (upstream issues 5969 and 6100), and that is its channel. */
const broken = ["1.16.0", "1.16.1"];

export interface Firecracker {
  readonly path: string;
  readonly version: string;
  readonly sha256: string;
}

export interface FirecrackerChoice {
  /** Else where distributions and people put it. */
  path?: string | undefined;
  /** What the operator says it must be, for a release that this build does not know. */
  sha256?: string | undefined;
}

/**
 * The host's Firecracker, or undefined when there is none and none was asked for. Its digest is checked before it is
 * executed, since this is root.
 * @throws HostError `missing`, `platform`
 */
export async function findFirecracker(choice: FirecrackerChoice = {}): Promise<Firecracker | undefined> {
  const path = choice.path ?? usualPaths.find((each) => existsSync(each));
  if (path === undefined) return undefined;
  if (!existsSync(path) || !statSync(path).isFile())
    throw new HostError("missing", `${path} is not a file; give the path of Firecracker's executable`);
  // Between its digest and its start nobody else may change it.
  requireOwnFile(path);
  const sha256 = await digestOf(path);
  const version = Object.keys(known).find((each) => known[each] === sha256);
  if (choice.sha256 !== undefined && choice.sha256 !== sha256)
    throw new HostError("platform", `${path} is not the Firecracker that was asked for: its SHA-256 is ${sha256}`);
  if (version !== undefined) return { path, version, sha256 };
  if (choice.sha256 === undefined) {
    const how = "compare it with the release's own and give it as --firecracker-sha256";
    throw new HostError(
      "platform",
      `${path} is no Firecracker that this build knows: its SHA-256 is ${sha256}; ${how}`,
    );
  }
  return { path, version: await versionOf(path), sha256 };
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}

async function versionOf(path: string): Promise<string> {
  const { stdout } = await run(path, ["--version"]);
  const found = /^Firecracker v(\d+)\.(\d+)\.(\d+)/.exec(stdout);
  if (found === null) throw new HostError("platform", `${path} does not say which version of Firecracker it is`);
  const [major, minor] = [Number(found[1]), Number(found[2])];
  if (major !== oldest[0] || minor < oldest[1])
    throw new HostError("platform", `${path} is Firecracker ${found[0].slice(13)}; 1.12 or a later 1.x is needed`);
  const version = found[0].slice(13);
  if (broken.includes(version))
    throw new HostError(
      "platform",
      `${path} is Firecracker ${version}, which does not restore a VM well; use a later one`,
    );
  return version;
}
