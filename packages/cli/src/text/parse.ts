import { existsSync, readFileSync, statSync } from "node:fs";
import { limits } from "@exai/api";
import { BaseError, formatBytes, parseBytes, parseDurationMs } from "@exai/base";
import { usage } from "../errors.ts";

const mib = 2 ** 20;

/** MiB of `512M` or `2G`. @throws CliError `usage` */
function sizeMib(what: "memory" | "disk", text: string, range: { min: number; max: number }): number {
  const bytes = based(() => parseBytes(text));
  const value = Math.floor(bytes / mib);
  if (value < range.min || value > range.max) {
    const hint = /^\d+$/.test(text.trim()) && bytes < mib ? `; a plain number is bytes, write ${text.trim()}M` : "";
    const allowed = `${formatBytes(range.min * mib)} to ${formatBytes(range.max * mib)}`;
    throw usage(`${what} '${text}' is out of range: it must be ${allowed}${hint}`);
  }
  return value;
}

export const parseMemory = (text: string): number => sizeMib("memory", text, limits.memoryMib);
export const parseDisk = (text: string): number => sizeMib("disk", text, limits.diskMib);

export function parseCpus(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= limits.cpus.min && value <= limits.cpus.max) return value;
  throw usage(
    `cpus '${text}' is out of range: it must be a whole number from ${limits.cpus.min} to ${limits.cpus.max}`,
  );
}

/** Milliseconds of `90s`, `5m`; more than 0. */
export function parseTimeout(text: string): number {
  const value = based(() => parseDurationMs(text));
  if (value > 0 && value <= limits.ttlSeconds.max * 1000) return value;
  throw usage(`the time '${text}' is out of range: it must be from 1ms to 365d`);
}

/** Seconds; 0 means never. */
export function parseTtl(text: string): number {
  const value = Math.ceil(based(() => parseDurationMs(text)) / 1000);
  if (value <= limits.ttlSeconds.max) return value;
  throw usage(`the time to live '${text}' is out of range: it must be at most 365d`);
}

function based<T>(step: () => T): T {
  try {
    return step();
  } catch (error) {
    if (error instanceof BaseError) throw usage(error.message);
    throw error;
  }
}

/** `NAME=VALUE`, or `NAME` for the value here. */
export function parseEnv(text: string, env: NodeJS.ProcessEnv = process.env): [string, string] {
  const at = text.indexOf("=");
  const name = at < 0 ? text : text.slice(0, at);
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
    throw usage(`'${name}' is not the name of an environment variable; write NAME=VALUE or NAME`);
  }
  if (at >= 0) return [name, text.slice(at + 1)];
  const value = env[name];
  if (value === undefined) throw usage(`the variable ${name} is not set here; write ${name}=VALUE`);
  return [name, value];
}

/** Lines `NAME=VALUE`; empty lines and those that begin with `#` are left out. Values are taken as they stand. */
export function parseEnvFile(path: string): [string, string][] {
  if (!existsSync(path)) throw usage(`the file ${path} does not exist`);
  const lines = readFileSync(path, "utf8").split(/\r?\n/);
  return lines.filter((line) => line.trim() !== "" && !line.startsWith("#")).map((line) => parseEnv(line));
}

export interface Transfer {
  readonly source: string;
  readonly destination: string | undefined;
}

/** `SRC[:DEST]`, cut at the last colon; a local path that exists as it stands is never cut. */
export function parseUpload(text: string): Transfer {
  const at = text.lastIndexOf(":");
  const whole = at <= 0 || existsSync(text);
  const source = whole ? text : text.slice(0, at);
  const destination = whole ? undefined : text.slice(at + 1);
  if (!existsSync(source)) throw usage(`the upload '${source}' does not exist`);
  if (destination === "") throw usage(`'${text}' has no destination after the colon`);
  return { source, destination };
}

/** `SRC[:DEST]`; DEST is a local path whose folder must exist. */
export function parseDownload(text: string): Transfer {
  const at = text.lastIndexOf(":");
  const source = at <= 0 ? text : text.slice(0, at);
  const destination = at <= 0 ? "." : text.slice(at + 1);
  if (source === "" || destination === "") throw usage(`'${text}' is not a download; write SRC or SRC:DEST`);
  checkLocalTarget(destination);
  return { source, destination };
}

/** Found out before a workspace is made for nothing. */
export function checkLocalTarget(path: string): void {
  const folder = path.endsWith("/") ? path : path.includes("/") ? path.slice(0, path.lastIndexOf("/") + 1) : ".";
  if (existsSync(path) && !path.endsWith("/")) return;
  if (!existsSync(folder) || !statSync(folder).isDirectory()) throw usage(`the folder ${folder} does not exist`);
}

/** A path of the guest; a relative one lies in the home of the user. */
export function guestPath(path: string, user: string | undefined): string {
  if (path.includes("\0")) throw usage("a path must not hold a NUL byte");
  if (path.startsWith("/")) return path;
  const home = homeOf(user);
  if (path === "." || path === "~" || path === "") return home;
  return `${home}/${path.replace(/^(~\/|\.\/)+/, "")}`;
}

export const homeOf = (user: string | undefined): string =>
  user === undefined || user === "1000" ? "/home/user" : user === "root" || user === "0" ? "/root" : `/home/${user}`;

/** `PORT[:LOCAL]`. */
export function parsePorts(text: string): { port: number; localPort: number } {
  const match = /^(\d{1,5})(?::(\d{1,5}))?$/.exec(text);
  const port = Number(match?.[1]);
  const localPort = match?.[2] === undefined ? port : Number(match[2]);
  if (match === null || port < 1 || port > 65_535 || localPort > 65_535) {
    throw usage(`'${text}' is not a port; write PORT or PORT:LOCAL with numbers up to 65535`);
  }
  return { port, localPort };
}

/** `NAME=VALUE` of a label. */
export function parseLabel(text: string): [string, string] {
  const at = text.indexOf("=");
  if (at <= 0) throw usage(`'${text}' is not a label; write NAME=VALUE`);
  return [text.slice(0, at), text.slice(at + 1)];
}

export function parseCount(text: string): number {
  if (/^\d{1,7}$/.test(text)) return Number(text);
  throw usage(`'${text}' is not a number`);
}

export function parseSha256(text: string): string {
  if (/^[0-9a-f]{64}$/i.test(text)) return text.toLowerCase();
  throw usage(`'${text}' is no SHA-256: it has 64 hexadecimal digits`);
}
