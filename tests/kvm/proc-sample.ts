import { createHash } from "node:crypto";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

export const digestOf = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");

/** What the kernel says of a process: what it runs, as whom, and what it holds. */
export interface ProcSample {
  /** The digest is of the file that runs, whatever its path now leads to. */
  readonly exe: { readonly path: string; readonly sha256: string };
  readonly status: Readonly<Record<string, string>>;
  readonly cgroup: string;
  /** Entries of its `/`. */
  readonly root: readonly string[];
  readonly descriptors: readonly string[];
}

const capabilities = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
const fields = ["Name", "Uid", "Gid", "Groups", "Threads", ...capabilities, "NoNewPrivs", "Seccomp", "VmRSS"];

export function sampleOf(pid: number): ProcSample {
  const at = (name: string): string => `/proc/${pid}/${name}`;
  const lines = readFileSync(at("status"), "utf8").split("\n");
  const status = lines.flatMap((line): [string, string][] => {
    const [key = "", value = ""] = line.split(":\t");
    return fields.includes(key) ? [[key, value.trim()]] : [];
  });
  return {
    exe: { path: readlinkSync(at("exe")), sha256: digestOf(at("exe")) },
    status: Object.fromEntries(status),
    cgroup: readFileSync(at("cgroup"), "utf8").trim(),
    root: readdirSync(at("root")).sort(),
    descriptors: readdirSync(at("fd"))
      .map((fd) => readlinkSync(at(`fd/${fd}`)))
      .sort(),
  };
}
