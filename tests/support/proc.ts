import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** What the kernel says of a process, for the tests of what our processes have and see. */
const at = (pid: number, name: string): string => `/proc/${pid}/${name}`;

/** A field of /proc/PID/status, or of one of its threads. */
export function statusField(pid: number, name: string, thread = pid): string {
  const text = readFileSync(at(pid, `task/${thread}/status`), "utf8");
  return new RegExp(`^${name}:[ \\t]*(.*?)\\s*$`, "m").exec(text)?.[1] ?? "missing";
}

export const threadsOf = (pid: number): number[] => readdirSync(at(pid, "task")).map(Number);

/** Those kinds of namespace that it does not share with us. */
export const ownNamespaces = (pid: number): string[] =>
  readdirSync(at(pid, "ns"))
    .filter((kind) => readlinkSync(at(pid, `ns/${kind}`)) !== readlinkSync(`/proc/self/ns/${kind}`))
    .sort();

export interface Mount {
  readonly point: string;
  readonly options: readonly string[];
}

export const mountsOf = (pid: number): Mount[] =>
  readFileSync(at(pid, "mountinfo"), "utf8")
    .trim()
    .split("\n")
    .map((line) => line.split(" "))
    .map((fields) => ({ point: fields[4] ?? "", options: (fields[5] ?? "").split(",") }));

/** Each kind once: numbers of pipes, sockets and inodes are left out. */
export const descriptorKinds = (pid: number): string[] => [
  ...new Set(
    readdirSync(at(pid, "fd")).map((fd) => readlinkSync(at(pid, `fd/${fd}`)).replace(/^(pipe|socket):\[\d+\]$/, "$1")),
  ),
];

/** Hard limits, as proc(5) writes them. */
export function hardLimit(pid: number, name: string): string {
  const line = readFileSync(at(pid, "limits"), "utf8")
    .split("\n")
    .find((each) => each.startsWith(`${name} `));
  return line?.slice(name.length).trim().split(/\s+/)[1] ?? "missing";
}

/** Network cards in its namespace. */
export const cardsOf = (pid: number): string[] =>
  readFileSync(at(pid, "net/dev"), "utf8")
    .split("\n")
    .flatMap((line) => /^\s*([^\s:]+):/.exec(line)?.[1] ?? []);

/** Inodes of the sockets that it holds. */
const socketsOf = (pid: number): string[] =>
  readdirSync(at(pid, "fd")).flatMap((fd) => /^socket:\[(\d+)\]$/.exec(readlinkSync(at(pid, `fd/${fd}`)))?.[1] ?? []);

/** Where it listens: TCP as `address:port`, UNIX sockets by path. */
export function listensAt(pid: number): string[] {
  const own = new Set(socketsOf(pid));
  const rows = (name: string): string[][] =>
    readFileSync(at(pid, `net/${name}`), "utf8")
      .split("\n")
      .slice(1)
      .map((line) => line.trim().split(/\s+/));
  const tcp = [...rows("tcp"), ...rows("tcp6")]
    .filter((fields) => fields[3] === "0A" && own.has(fields[9] ?? ""))
    .map((fields) => addressOf(fields[1] ?? ""));
  const unix = rows("unix")
    .filter((fields) => fields[3] === "00010000" && own.has(fields[6] ?? ""))
    .map((fields) => fields[7] ?? "unnamed");
  return [...tcp, ...unix].sort();
}

/** `0100007F:1F90` → `127.0.0.1:8080`; an IPv6 address is left as it is. */
function addressOf(hex: string): string {
  const [address = "", port = ""] = hex.split(":");
  if (address.length !== 8) return `${address}:${Number.parseInt(port, 16)}`;
  return `${[...Buffer.from(address, "hex")].reverse().join(".")}:${Number.parseInt(port, 16)}`;
}
