import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { LockedNpm } from "./package-lock.ts";
import { run } from "./run.ts";

export interface Finish {
  /** A folder of files that is laid over the tree. */
  files: string;
  npm: readonly (LockedNpm & { path: string })[];
  epoch: number;
  change: ((tree: string) => Promise<void>) | undefined;
}

/** The fresh Debian tree becomes an image: Node, our files, its own changes; nothing of this machine or this hour. */
export async function finishTree(tree: string, { files, npm, epoch, change }: Finish): Promise<void> {
  for (const each of npm) await addNpm(tree, each);
  cpSync(files, tree, { recursive: true, force: true });
  await change?.(tree);
  removeTraces(tree, epoch);
  clampTimes(tree, epoch);
}

/** The base image's user, who may become root. */
export async function addBaseUser(tree: string): Promise<void> {
  chmodSync(join(tree, "etc/sudoers.d/user"), 0o440);
  await addUser(tree);
}

async function addNpm(tree: string, { name, path }: LockedNpm & { path: string }): Promise<void> {
  const local = join(tree, "usr/local");
  if (name === "npm") {
    const folder = join(local, "lib/node_modules/npm");
    mkdirSync(folder, { recursive: true });
    await run([
      "tar",
      "-xzf",
      path,
      "-C",
      folder,
      "--strip-components=1",
      "--no-same-owner",
      "--exclude=package/docs",
      "--exclude=package/man",
    ]);
    for (const program of ["npm", "npx"])
      symlinkSync(`../lib/node_modules/npm/bin/${program}-cli.js`, join(local, "bin", program));
    return;
  }
  await run(["tar", "-xzf", path, "-C", local, "--strip-components=1", "--no-same-owner", "package/bin/node"]);
  // 18 MB of symbols that only a debugger of Node itself would read.
  await run(["strip", "--strip-all", join(local, "bin/node")]);
  chmodSync(join(local, "bin/node"), 0o755);
}

async function addUser(tree: string): Promise<void> {
  const add = ["useradd", "--uid", "1000", "--user-group", "--create-home", "--shell", "/bin/bash", "user"] as const;
  await run(["chroot", tree, ...add]);
  cpSync(join(tree, "etc/skel"), join(tree, "root"), { recursive: true, force: true });
}

function removeTraces(tree: string, epoch: number): void {
  const at = (path: string): string => join(tree, path);
  // Of the machine that built it.
  for (const file of ["etc/resolv.conf", "etc/apt/sources.list", "var/lib/dbus/machine-id"])
    rmSync(at(file), { force: true });
  // Empty, and not missing: whoever needs one makes it at first boot.
  writeFileSync(at("etc/machine-id"), "");
  writeFileSync(at("etc/resolv.conf"), "");
  // Of the hour: logs and caches, each of which is made again when it is needed.
  for (const folder of [
    "var/log",
    "var/cache/apt",
    "var/cache/debconf",
    "var/cache/ldconfig",
    "var/lib/apt/lists",
    "tmp",
    "run",
  ])
    empty(at(folder));
  mkdirSync(at("var/lib/apt/lists/partial"), { recursive: true });
  mkdirSync(at("var/cache/apt/archives/partial"), { recursive: true });
  for (const file of readdirSync(at("etc/apt/sources.list.d"))) rmSync(at(join("etc/apt/sources.list.d", file)));
  for (const name of ["passwd", "group", "shadow", "gshadow", "subuid", "subgid"])
    rmSync(at(`etc/${name}-`), { force: true });
  for (const name of readdirSync(at("var/lib/dpkg"))) if (name.endsWith("-old")) rmSync(at(`var/lib/dpkg/${name}`));
  // Third field: the day on which a password was last changed.
  const day = String(Math.floor(epoch / 86_400));
  const shadow = readFileSync(at("etc/shadow"), "utf8").replace(/^([^:]*:[^:]*:)\d+/gm, `$1${day}`);
  writeFileSync(at("etc/shadow"), shadow);
}

function empty(folder: string): void {
  if (!existsSync(folder)) return;
  for (const entry of readdirSync(folder)) rmSync(join(folder, entry), { recursive: true });
}

/** No time is younger than the epoch. Older ones stay: Python compares its compiled files with their sources' times. */
function clampTimes(folder: string, epoch: number): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) clampTimes(path, epoch);
    else clamp(path, epoch);
  }
  clamp(folder, epoch);
}

function clamp(path: string, epoch: number): void {
  if (lstatSync(path).mtimeMs > epoch * 1000) lutimesSync(path, epoch, epoch);
}
