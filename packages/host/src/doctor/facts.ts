import { createHash } from "node:crypto";
import {
  accessSync,
  closeSync,
  constants,
  createReadStream,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  statfsSync,
} from "node:fs";
import { pipeline } from "node:stream/promises";
import { errorCode } from "@exai/base";
import { HostError } from "../errors.ts";
import { run } from "../exec.ts";

/** Everything that checks ask of a host goes through here, so that each of their answers can be tried in a test. */
export interface HostFacts {
  /** A small file's text without white space around it; undefined where there is none. @throws when it can't be read */
  read(path: string): string | undefined;
  /** Names in a folder; undefined where there is none. */
  list(path: string): readonly string[] | undefined;
  /** Where a link leads, as it says. */
  link(path: string): string | undefined;
  /** Of the thing itself, not of what it links to. */
  stat(path: string): FileFacts | undefined;
  /** Of the file system in which it lies. */
  freeBytes(path: string): number;
  /** Whether it may be read and written. */
  opens(path: string): boolean;
  /** SHA-256, hex. */
  digest(path: string): Promise<string | undefined>;
  /** What a program prints first. @throws when it fails */
  run(file: string, args: readonly string[]): Promise<string>;
}

export interface FileFacts {
  readonly kind: "file" | "folder" | "link" | "other";
  readonly uid: number;
  /** The lower twelve bits. */
  readonly mode: number;
  readonly sizeBytes: number;
}

const longestBytes = 1 << 20;

export const thisHost: HostFacts = {
  read: (path) => ifThere(() => readSmall(path)),
  list: (path) => ifThere(() => readdirSync(path)),
  link: (path) => ifThere(() => readlinkSync(path)),
  stat: (path) =>
    ifThere(() => {
      const found = lstatSync(path);
      const kind = found.isFile() ? "file" : found.isDirectory() ? "folder" : found.isSymbolicLink() ? "link" : "other";
      return { kind, uid: found.uid, mode: found.mode & 0o7777, sizeBytes: found.size };
    }),
  freeBytes(path) {
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize;
  },
  opens(path) {
    try {
      accessSync(path, constants.R_OK | constants.W_OK);
      return true;
    } catch {
      return false;
    }
  },
  async digest(path) {
    if (ifThere(() => lstatSync(path)) === undefined) return undefined;
    const hash = createHash("sha256");
    await pipeline(createReadStream(path), hash);
    return hash.digest("hex");
  },
  async run(file, args) {
    const { stdout, stderr } = await run(file, args);
    return (stdout || stderr).trim();
  },
};

/** Files of /proc have no size, so it is read until its end. */
function readSmall(path: string): string {
  // Whatever has the name: a FIFO must not make us wait.
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const parts: Buffer[] = [];
    for (let total = 0; ; ) {
      const part = Buffer.alloc(64 << 10);
      const length = readSync(fd, part);
      if (length === 0) return Buffer.concat(parts).toString("utf8").trim();
      total += length;
      if (total > longestBytes) throw new HostError("platform", `${path} is longer than it should be`);
      parts.push(part.subarray(0, length));
    }
  } finally {
    closeSync(fd);
  }
}

/** ESRCH: a process that went while its files were read. */
const absent: ReadonlySet<string | undefined> = new Set(["ENOENT", "ENOTDIR", "ESRCH"]);

function ifThere<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (absent.has(errorCode(error))) return undefined;
    throw error;
  }
}
