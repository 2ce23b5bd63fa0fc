import { createHash } from "node:crypto";
import type { StartRequest } from "@exai/api/guest";
import type { EventDetail } from "@exai/audit";

/** Longest text of one event's arguments, characters; what is cut off is still covered by a digest. */
const argvCharacters = 16 << 10;
const argvEntries = 1024;
const pathCharacters = 4096;
const envNames = 64;

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Bytes of a guest's path or argument as text: UTF-8 as it is, anything else byte by byte as `\xNN`. */
export function pathText(bytes: Uint8Array): string {
  return bytesText(bytes).slice(0, pathCharacters).toWellFormed();
}

function bytesText(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    return Array.from(bytes, byteText).join("");
  }
}

const byteText = (byte: number): string =>
  byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`;

/** What was started: arguments and the names of variables, never their values. */
export function argvDetail(request: StartRequest): { target: string; detail: EventDetail } {
  const argv: string[] = [];
  let left = argvCharacters;
  let cut = false;
  for (const bytes of request.argv.slice(0, argvEntries)) {
    if (left <= 0) break;
    const whole = bytesText(bytes.subarray(0, left));
    const text = fit(whole, left);
    cut ||= bytes.length > left || text.length < whole.length;
    argv.push(text);
    left -= jsonCost(text);
  }
  cut ||= argv.length < request.argv.length;
  return {
    target: (argv[0] ?? "").slice(0, 1024).toWellFormed(),
    detail: {
      argv,
      ...(cut ? { argvCut: true, argvCount: request.argv.length, argvSha256: digest(request.argv) } : {}),
      ...(request.cwd.length === 0 ? {} : { cwd: pathText(request.cwd).slice(0, 1024).toWellFormed() }),
      ...(request.user === "" ? {} : { user: request.user.slice(0, 64).toWellFormed() }),
      ...(request.terminal === undefined ? {} : { terminal: true }),
      ...(request.env.length === 0 ? {} : { env: request.env.slice(0, envNames).map(({ name }) => shortName(name)) }),
    },
  };
}

const shortName = (name: Uint8Array): string => bytesText(name.subarray(0, 64)).slice(0, 64).toWellFormed();

/** A control character costs six bytes of JSON. */
const fit = (text: string, bytes: number): string =>
  (jsonCost(text) <= bytes ? text : text.slice(0, Math.ceil(bytes / 6))).toWellFormed();

/** Bytes of the text as JSON prints it. */
const jsonCost = (text: string): number => Buffer.byteLength(JSON.stringify(text)) + 1;

/** Over each entry with its NUL, as execve(2) sees them. */
function digest(argv: readonly Uint8Array[]): string {
  const hash = createHash("sha256");
  for (const each of argv) hash.update(each).update("\0");
  return hash.digest("hex");
}
