import { FileKind, type TreeEntry, type TreeFrame, type TreeSummary } from "@exai/api/guest";
import { SdkError } from "../errors.ts";
import { newProgress, type OnProgress, type TreeProgress } from "./pack.ts";
import { linkEscapes, showPath, splitPath, treeLimits, unsafeTree } from "./paths.ts";
import { Place } from "./place.ts";

export interface UnpackOptions {
  /** The path that the root of the tree becomes. An existing folder is merged into; an existing file is replaced. */
  readonly destination: string;
  readonly onProgress?: OnProgress;
  /** Refuse more content than this; default no limit but the disk's. */
  readonly maxBytes?: number;
}

/**
 * Writes a stream of frames, which may come from a hostile guest, as a local file or tree. Whatever the stream says,
 * nothing is written outside the destination: every entry's parent must be a folder that the stream itself made or that
 * is a real folder here, links that lead out and anything but files, folders and links are refused, set-uid bits are
 * dropped, and a stream that is short, long or repeats a name fails. A new tree appears only when it is whole.
 * @throws SdkError `unsafe-tree`, `bad-answer` (truncated or out of order), `local`
 */
export async function unpackTree(frames: AsyncIterable<TreeFrame>, options: UnpackOptions): Promise<TreeProgress> {
  const unpacker = new Unpacker(await Place.open(options.destination), options);
  try {
    for await (const frame of frames) await unpacker.take(frame);
    await unpacker.finish();
  } catch (error) {
    await unpacker.abandon();
    throw error;
  }
  return unpacker.progress;
}

class Unpacker {
  readonly progress = newProgress();
  readonly #place: Place;
  readonly #options: UnpackOptions;
  readonly #kinds = new Map<string, FileKind>();
  readonly #folders: { path: Buffer; entry: TreeEntry }[] = [];
  /** Bytes that the current file still needs. */
  #missing = 0n;
  #ended = false;
  #first = true;

  constructor(place: Place, options: UnpackOptions) {
    this.#place = place;
    this.#options = options;
  }

  async take(frame: TreeFrame): Promise<void> {
    if (this.#ended) throw new SdkError("bad-answer", "the tree goes on after its end");
    const event = frame.frame;
    switch (event.case) {
      case "root":
        if (!this.#first) throw new SdkError("bad-answer", "the tree has two roots");
        break;
      case "entry":
        await this.#closeFile();
        await this.#enter(event.value);
        break;
      case "data":
        await this.#write(event.value);
        break;
      case "end":
        await this.#closeFile();
        this.#checkSummary(event.value);
        this.#ended = true;
        break;
      default:
        throw new SdkError("bad-answer", "the tree holds a frame of an unknown kind");
    }
    this.#first = false;
    this.#options.onProgress?.(this.progress);
  }

  async finish(): Promise<void> {
    if (!this.#ended || !this.#kinds.has(""))
      throw new SdkError("bad-answer", "the transfer was cut off; copy it again");
    // Children first: a folder's time changes when something is put in it, and a read-only one takes nothing.
    for (const { path, entry } of this.#folders.reverse())
      await this.#place.settleFolder(path, entry.mode, entry.mtimeNs);
    await this.#place.commit();
  }

  abandon(): Promise<void> {
    return this.#place.abandon();
  }

  async #enter(entry: TreeEntry): Promise<void> {
    const parts = splitPath(entry.path);
    const path = Buffer.from(entry.path);
    const key = path.toString("latin1");
    if (this.#kinds.has(key)) throw unsafeTree(`the tree holds '${showPath(path)}' twice`);
    if (this.#kinds.size >= treeLimits.entries)
      throw unsafeTree(`the tree holds more than ${treeLimits.entries} entries`);
    const last = parts.at(-1);
    if (last === undefined && this.#kinds.size > 0) throw unsafeTree("the root does not come first");
    if (last !== undefined) {
      const parent = key.slice(0, Math.max(0, key.length - last.length - 1));
      if (this.#kinds.get(parent) !== FileKind.DIRECTORY) {
        throw unsafeTree(`'${showPath(path)}' does not lie in a folder of the tree`);
      }
    }
    this.#kinds.set(key, entry.kind);
    switch (entry.kind) {
      case FileKind.FILE:
        this.#checkRoom(entry.sizeBytes);
        await this.#place.openFile(path, entry.mode, entry.mtimeNs);
        this.#missing = entry.sizeBytes;
        this.progress.files++;
        return;
      case FileKind.DIRECTORY:
        await this.#place.makeFolder(path);
        this.#folders.push({ path, entry });
        this.progress.directories++;
        return;
      case FileKind.SYMLINK:
        if (last === undefined) {
          throw new SdkError("local", `the source is a link to '${showPath(entry.linkTarget)}'; copy that instead`);
        }
        if (linkEscapes(entry.linkTarget, parts.length - 1)) {
          throw unsafeTree(`the link '${showPath(path)}' leads out of the tree (to '${showPath(entry.linkTarget)}')`);
        }
        await this.#place.makeLink(path, Buffer.from(entry.linkTarget), entry.mtimeNs);
        this.progress.links++;
        return;
      default:
        throw unsafeTree(`'${showPath(path)}' is neither file, folder nor link`);
    }
  }

  #checkRoom(sizeBytes: bigint): void {
    const most = this.#options.maxBytes;
    if (most !== undefined && BigInt(this.progress.bytes) + sizeBytes > BigInt(most)) {
      throw unsafeTree(`the tree holds more than ${most} bytes`);
    }
  }

  async #write(data: Uint8Array): Promise<void> {
    if (BigInt(data.length) > this.#missing) throw unsafeTree("a file is longer than the tree says");
    this.#missing -= BigInt(data.length);
    await this.#place.writeFile(data);
    this.progress.bytes += data.length;
  }

  async #closeFile(): Promise<void> {
    if (this.#missing > 0n) throw new SdkError("bad-answer", "a file is shorter than the tree says");
    await this.#place.closeFile();
  }

  #checkSummary(end: TreeSummary): void {
    const { files, directories, links, bytes } = this.progress;
    const told = [end.files, end.directories, end.links, end.bytes];
    if (![files, directories, links, bytes].every((count, at) => BigInt(count) === told[at])) {
      throw new SdkError("bad-answer", "the tree's sum does not agree with what was received");
    }
    this.progress.skipped = Number(end.skipped);
  }
}
