import { SdkError } from "../errors.ts";

/** Limits of one tree, both ways. */
export const treeLimits = { nameBytes: 255, pathBytes: 4096, depth: 256, entries: 1_000_000 } as const;

const slash = 0x2f;
const dot = 0x2e;

const isDots = (part: Uint8Array): boolean =>
  (part.length === 1 && part[0] === dot) || (part.length === 2 && part[0] === dot && part[1] === dot);

/** For messages: UTF-8 with control characters escaped. */
export const showPath = (path: Uint8Array): string =>
  JSON.stringify(Buffer.from(path.subarray(0, 300)).toString("utf8")).slice(1, -1);

export const unsafeTree = (what: string): SdkError => new SdkError("unsafe-tree", what);

/**
 * Parts of a relative path as the contract has it: no empty part, `.`, `..`, NUL, absolute or overlong name.
 * A newline in a name is fine. The empty path is the root and has no parts.
 * @throws SdkError `unsafe-tree`
 */
export function splitPath(path: Uint8Array): Buffer[] {
  if (path.length === 0) return [];
  if (path.length > treeLimits.pathBytes) throw unsafeTree(`the tree holds a path of ${path.length} bytes`);
  if (path.includes(0)) throw unsafeTree("the tree holds a name with a NUL byte");
  const parts: Buffer[] = [];
  const bytes = Buffer.from(path);
  for (let from = 0; from <= bytes.length; ) {
    const at = bytes.indexOf(slash, from);
    const end = at < 0 ? bytes.length : at;
    const part = bytes.subarray(from, end);
    if (part.length === 0 || isDots(part))
      throw unsafeTree(`the tree holds the path '${showPath(path)}', which leaves it`);
    if (part.length > treeLimits.nameBytes) throw unsafeTree(`the tree holds a name of ${part.length} bytes`);
    parts.push(part);
    from = end + 1;
  }
  if (parts.length > treeLimits.depth) throw unsafeTree(`the tree is deeper than ${treeLimits.depth} folders`);
  return parts;
}

/**
 * Whether a link leads out of its tree. `depth` is the number of folders between the root and the link. Only leading
 * `..` are allowed: after a name, `..` may start from wherever another link leads, so counting would not be proof.
 */
export function linkEscapes(target: Uint8Array, depth: number): boolean {
  if (target.length === 0 || target.length > treeLimits.pathBytes || target[0] === slash || target.includes(0))
    return true;
  let up = 0;
  let named = false;
  for (const part of Buffer.from(target).toString("latin1").split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") named = true;
    else if (named || ++up > depth) return true;
  }
  return false;
}
