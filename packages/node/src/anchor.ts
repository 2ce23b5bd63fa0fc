import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  opendirSync,
  openSync,
  rmdirSync,
  unlinkSync,
} from "node:fs";
import { errorCode } from "@exai/base";
import { NodeError } from "./errors.ts";
import { ifThere } from "./files.ts";

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** What one removal takes away at most; more is nothing that a VM's folder ever holds. */
const maxEntries = 10_000;
const maxDepth = 8;

/**
 * A folder that belongs to somebody who is not trusted. It was opened without following a link at its last name, and
 * what lies in it is reached through the descriptor: its owner may plant links and swap folders as they like, root
 * never leaves the folder.
 */
export class Anchor implements Disposable {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** @throws the system's error; ENOTDIR or ELOOP when a link stands there */
  static open(path: string): Anchor {
    return new Anchor(openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW));
  }

  /** A folder in this one, under the same rules; undefined when something else, or nothing, has the name. */
  enterIfFolder(name: string): Anchor | undefined {
    try {
      return Anchor.open(this.#child(name));
    } catch (error) {
      if (["ENOENT", "ENOTDIR", "ELOOP"].includes(errorCode(error) ?? "")) return undefined;
      throw error;
    }
  }

  #child(name: string): string {
    if (name === "" || name === "." || name === ".." || name.includes("/")) {
      throw new NodeError("unsafe-folder", "a name in a folder must be plain");
    }
    return `/proc/self/fd/${this.#fd}/${name}`;
  }

  /** Makes a folder with this owner and mode, also when it was there and is the owner's or root's. */
  makeFolder(name: string, owner: Owner, mode: number): void {
    const path = this.#child(name);
    try {
      mkdirSync(path, { mode: 0o700 });
    } catch (error) {
      if (errorCode(error) !== "EEXIST") throw error;
    }
    using made = Anchor.open(path);
    const { uid } = fstatSync(made.#fd);
    if (uid !== 0 && uid !== owner.uid) {
      throw new NodeError("unsafe-folder", `the folder '${name}' belongs to uid ${uid}, not to ${owner.uid}`);
    }
    fchownSync(made.#fd, owner.uid, owner.gid);
    fchmodSync(made.#fd, mode);
  }

  /** Removes what has this name, with all below it; a link itself, not what it leads to. Nothing there is fine. */
  remove(name: string): void {
    this.#remove(name, { entries: maxEntries }, maxDepth);
  }

  #remove(name: string, left: { entries: number }, depth: number): void {
    if (--left.entries < 0 || depth < 0) throw new NodeError("unsafe-folder", `'${name}' holds too much to be removed`);
    const path = this.#child(name);
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found === undefined) return;
    if (!found.isDirectory()) {
      ifThere(() => unlinkSync(path));
      return;
    }
    using folder = Anchor.open(path);
    for (const entry of folder.#entries(left.entries)) folder.#remove(entry, left, depth - 1);
    ifThere(() => rmdirSync(path));
  }

  #entries(limit: number): string[] {
    const names: string[] = [];
    using folder = opendirSync(`/proc/self/fd/${this.#fd}`);
    for (let entry = folder.readSync(); entry !== null && names.length <= limit; entry = folder.readSync()) {
      names.push(entry.name);
    }
    return names;
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
