import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { TestStack } from "../../tests/support/stack.ts";

export const kinds = ["supervisor", "node", "control", "broker", "channel", "launcher", "vmm", "client"] as const;
export type Kind = (typeof kinds)[number];

const status = z.looseObject({ processes: z.array(z.looseObject({ name: z.string(), pid: z.number().optional() })) });

/** Pids of one kind of process of a stack, right now. */
export async function pidsOf(stack: TestStack, kind: Kind): Promise<number[]> {
  if (kind === "launcher" || kind === "vmm") return vmPids(stack, kind);
  const ran = await stack.exai(["status", "--json"]);
  if (ran.stdout.trim() === "") return [];
  const { processes } = status.parse(JSON.parse(ran.stdout));
  return processes.filter((each) => each.name.startsWith(kind)).flatMap((each) => each.pid ?? []);
}

/** A VMM is a child of its launcher, which the workspace's folder names on no command line: found by the uid. */
function vmPids(stack: TestStack, kind: "launcher" | "vmm"): number[] {
  const uids = new Set<string>();
  for (const workspace of readdirSync(join(stack.home, "vms"))) {
    const text = tryRead(join(stack.home, "vms", workspace, "tenant.json"));
    const uid = z.looseObject({ uid: z.number() }).safeParse(text === undefined ? undefined : JSON.parse(text));
    if (uid.success) uids.add(String(uid.data.uid));
  }
  const wanted = kind === "vmm" ? "qemu" : "exai-launcher";
  return readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid))
    .filter((pid) => {
      const [uid] = /^Uid:\s+(\d+)/m.exec(tryRead(join("/proc", pid, "status")) ?? "")?.slice(1) ?? [];
      return uid !== undefined && uids.has(uid) && (tryRead(join("/proc", pid, "comm")) ?? "").startsWith(wanted);
    })
    .map(Number);
}

function tryRead(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
