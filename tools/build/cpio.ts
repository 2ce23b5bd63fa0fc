/**
 * The cpio "newc" format that the kernel unpacks as its first root file system
 * (Documentation/driver-api/early-userspace/buffer-format.rst). Owner root and time 0, so that equal inputs give
 * equal bytes.
 */
export type CpioEntry =
  | { path: string; kind: "folder" }
  | { path: string; kind: "file"; content: Uint8Array; mode: number }
  | { path: string; kind: "character"; mode: number; major: number; minor: number };

export function cpio(entries: readonly CpioEntry[]): Buffer {
  const parts: Buffer[] = [];
  for (const [at, entry] of entries.entries()) parts.push(...member(entry, at + 1));
  parts.push(...header("TRAILER!!!", { ino: 0, mode: 0, nlink: 1, size: 0, major: 0, minor: 0 }));
  return Buffer.concat(parts);
}

function member(entry: CpioEntry, ino: number): Buffer[] {
  const none = { ino, nlink: 1, size: 0, major: 0, minor: 0 };
  switch (entry.kind) {
    case "folder":
      return header(entry.path, { ...none, mode: 0o040755, nlink: 2 });
    case "character":
      return header(entry.path, { ...none, mode: 0o020000 | entry.mode, major: entry.major, minor: entry.minor });
    case "file": {
      const content = Buffer.from(entry.content);
      const head = header(entry.path, { ...none, mode: 0o100000 | entry.mode, size: content.length });
      return [...head, content, padding(content.length)];
    }
  }
}

interface Fields {
  ino: number;
  mode: number;
  nlink: number;
  size: number;
  major: number;
  minor: number;
}

function header(path: string, f: Fields): Buffer[] {
  const name = Buffer.from(`${path}\0`, "utf8");
  // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
  const numbers = [f.ino, f.mode, 0, 0, f.nlink, 0, f.size, 0, 0, f.major, f.minor, name.length, 0];
  const head = Buffer.from(`070701${numbers.map((n) => n.toString(16).padStart(8, "0")).join("")}`, "ascii");
  return [head, name, padding(head.length + name.length)];
}

const padding = (length: number): Buffer => Buffer.alloc((4 - (length % 4)) % 4);
