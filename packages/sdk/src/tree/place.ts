import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import {
  chmod,
  type FileHandle,
  lstat,
  lutimes,
  mkdir,
  open,
  rename,
  rm,
  stat,
  symlink,
  unlink,
  utimes,
} from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { errorCode } from "@exai/base";
import { SdkError } from "../errors.ts";
import { showPath } from "./paths.ts";
import { local } from "./walk.ts";

const slash = Buffer.from("/");
const temporary = () => `.exai-${randomBytes(6).toString("hex")}.partial`;

interface OpenFile {
  readonly handle: FileHandle;
  readonly written: Buffer;
  readonly final: Buffer;
  readonly mode: number;
  readonly mtimeNs: bigint;
}

/** The guest's permissions, but nobody else on this machine gets to write to what it sent. */
const taken = (mode: number): number => mode & 0o777 & ~0o022;

/**
 * Where a tree is written. What is new is made under a temporary name beside it and renamed at the end; into an existing
 * folder every file is made beside its name and renamed over it, so that no link there is ever written through.
 */
export class Place {
  readonly #destination: Buffer;
  /** Top of what is being written: the destination itself when it is an existing folder. */
  readonly #topPath: string;
  readonly #top: Buffer;
  readonly #merge: boolean;
  #file: OpenFile | undefined;

  private constructor(destination: string, merge: boolean) {
    this.#destination = Buffer.from(destination);
    this.#merge = merge;
    this.#topPath = merge ? destination : join(dirname(destination), temporary());
    this.#top = Buffer.from(this.#topPath);
  }

  /** @throws SdkError `local` when the folder that is to hold it does not exist */
  static async open(destination: string): Promise<Place> {
    const path = resolve(destination);
    const parent = await kind(Buffer.from(dirname(path)), true);
    if (parent !== "folder")
      throw new SdkError("local", `the folder ${showPath(Buffer.from(dirname(path)))} does not exist`);
    return new Place(path, (await kind(Buffer.from(path), true)) === "folder");
  }

  async makeFolder(path: Buffer): Promise<void> {
    const at = this.#at(path);
    if (this.#merge) {
      const there = await kind(at, path.length === 0);
      if (there === "folder") return;
      if (there !== "nothing") throw new SdkError("local", `${showPath(at)} is in the way of a folder`);
    }
    await local(at, mkdir(at, { mode: 0o700 }));
  }

  async openFile(path: Buffer, mode: number, mtimeNs: bigint): Promise<void> {
    const final = this.#at(path);
    if (this.#merge && path.length === 0) throw new SdkError("local", `${showPath(final)} is a folder; name the file`);
    const written = this.#merge ? Buffer.concat([parentOf(final), Buffer.from(temporary())]) : final;
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const handle = await local(written, open(written, flags, 0o600));
    this.#file = { handle, written, final, mode, mtimeNs };
  }

  async writeFile(data: Uint8Array): Promise<void> {
    const file = this.#file;
    if (file === undefined) throw new SdkError("bad-answer", "the tree holds content without a file");
    for (let from = 0; from < data.length; ) {
      from += (await local(file.final, file.handle.write(data, from))).bytesWritten;
    }
  }

  async closeFile(): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
    try {
      await local(file.final, file.handle.chmod(taken(file.mode)));
      await local(file.final, file.handle.utimes(seconds(file.mtimeNs), seconds(file.mtimeNs)));
    } finally {
      await file.handle.close();
    }
    if (file.written !== file.final) await local(file.final, rename(file.written, file.final));
    this.#file = undefined;
  }

  async makeLink(path: Buffer, target: Buffer, mtimeNs: bigint): Promise<void> {
    const final = this.#at(path);
    const made = this.#merge ? Buffer.concat([parentOf(final), Buffer.from(temporary())]) : final;
    await local(final, symlink(target, made));
    await local(final, lutimes(made, seconds(mtimeNs), seconds(mtimeNs)));
    if (made === final) return;
    try {
      await local(final, rename(made, final));
    } catch (error) {
      await unlink(made);
      throw error;
    }
  }

  async settleFolder(path: Buffer, mode: number, mtimeNs: bigint): Promise<void> {
    // The folder that the user named keeps its own mode and time.
    if (this.#merge && path.length === 0) return;
    const at = this.#at(path);
    await local(at, chmod(at, taken(mode)));
    await local(at, utimes(at, seconds(mtimeNs), seconds(mtimeNs)));
  }

  async commit(): Promise<void> {
    if (!this.#merge) await local(this.#destination, rename(this.#top, this.#destination));
  }

  /** Removes what is unfinished. Files that were merged before the failure stay. */
  async abandon(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    if (file !== undefined) {
      await file.handle.close().catch(() => undefined);
      await unlink(file.written).catch(() => undefined);
    }
    if (!this.#merge) await rm(this.#topPath, { recursive: true, force: true }).catch(() => undefined);
  }

  #at(path: Buffer): Buffer {
    return path.length === 0 ? this.#top : Buffer.concat([this.#top, slash, path]);
  }
}

const parentOf = (path: Buffer): Buffer => path.subarray(0, path.lastIndexOf(0x2f) + 1);

/** Node takes seconds as a double, which holds today's times to a quarter of a microsecond. */
const seconds = (ns: bigint): number => Number(ns / 1_000_000_000n) + Number(ns % 1_000_000_000n) / 1e9;

/** `follow`: for paths that the user named; never for one that the stream names. */
async function kind(path: Buffer, follow: boolean): Promise<"folder" | "other" | "nothing"> {
  try {
    const found = follow ? await stat(path) : await lstat(path);
    return found.isDirectory() ? "folder" : "other";
  } catch (cause) {
    if (errorCode(cause) === "ENOENT" || errorCode(cause) === "ENOTDIR") return "nothing";
    throw new SdkError("local", `${showPath(path)} cannot be used (${errorCode(cause)})`, { cause });
  }
}
