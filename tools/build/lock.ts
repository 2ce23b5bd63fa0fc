import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { errorCode } from "@exai/base";

const pollMs = 200;

/** "pid starttime": a pid alone may by now be another process. */
function identity(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The command name may hold spaces; field 22 is counted from behind its closing parenthesis.
    return `${pid} ${stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]}`;
  } catch {
    return undefined;
  }
}

/** One holder at a time, between processes; a dead holder's lock is taken over. */
export async function lockFile(path: string, onWait?: (pid: number) => void): Promise<Disposable> {
  mkdirSync(dirname(path), { recursive: true });
  for (let told = false; ; await sleep(pollMs)) {
    try {
      writeFileSync(path, identity(process.pid) ?? "", { flag: "wx" });
      return { [Symbol.dispose]: () => rmSync(path, { force: true }) };
    } catch (error) {
      if (errorCode(error) !== "EEXIST") throw error;
    }
    const holder = readHolder(path);
    if (holder === undefined) continue;
    const pid = Number(holder.split(" ")[0]);
    if (identity(pid) !== holder) rmSync(path, { force: true });
    else if (!told) {
      told = true;
      onWait?.(pid);
    }
  }
}

function readHolder(path: string): string | undefined {
  try {
    // Empty: its holder is between creating and writing.
    return readFileSync(path, "utf8") || undefined;
  } catch {
    return undefined;
  }
}
