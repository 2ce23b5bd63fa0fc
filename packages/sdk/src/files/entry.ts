import { type FileInfo, FileKind } from "@exai/api/guest";

/** A file, folder or link of the guest. */
export interface FileEntry {
  /** The path asked for, or the entry's name in a listing; `nameBytes` when it is not UTF-8. */
  readonly name: string;
  readonly nameBytes: Uint8Array;
  readonly kind: "file" | "directory" | "symlink" | "other";
  /** Permission bits, 12 of them. */
  readonly mode: number;
  readonly sizeBytes: number;
  readonly mtime: Date;
  readonly uid: number;
  readonly gid: number;
  readonly linkTarget: string | undefined;
}

const kinds: Readonly<Record<number, FileEntry["kind"]>> = {
  [FileKind.FILE]: "file",
  [FileKind.DIRECTORY]: "directory",
  [FileKind.SYMLINK]: "symlink",
};

export const fileEntry = (info: FileInfo): FileEntry => ({
  name: Buffer.from(info.name).toString("utf8"),
  nameBytes: info.name,
  kind: kinds[info.kind] ?? "other",
  mode: info.mode & 0o7777,
  sizeBytes: Number(info.sizeBytes),
  mtime: new Date(Number(info.mtimeNs / 1_000_000n)),
  uid: info.uid,
  gid: info.gid,
  linkTarget: info.linkTarget.length > 0 ? Buffer.from(info.linkTarget).toString("utf8") : undefined,
});
