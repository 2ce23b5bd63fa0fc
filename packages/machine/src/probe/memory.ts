import { readFile, rename, writeFile } from "node:fs/promises";
import { MachineError } from "../errors.ts";

/** Both answers hold until the host boots again: firmware, kernel and clock rate do not change before. */
interface Remembered {
  readonly bootId: string;
  readonly value: unknown;
}

async function bootId(): Promise<string> {
  return (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
}

/**
 * The answer of an earlier call in this boot of the host, or a new one, kept in `file`. A file that can't be read, is
 * from another boot or does not fit is as good as none.
 * @param file undefined when there is no place of ours to keep it
 * @param parse returns undefined for what it does not take
 * @param keep whether the new answer may be kept
 */
export async function rememberPerBoot<T>(
  file: string | undefined,
  parse: (value: unknown) => T | undefined,
  find: () => Promise<T>,
  keep: (value: T) => boolean = () => true,
): Promise<T> {
  if (file === undefined) return await find();
  const id = await bootId();
  const known = parseRemembered(await readFile(file, "utf8").catch(() => ""));
  const value = known?.bootId === id ? parse(known.value) : undefined;
  if (value !== undefined) return value;
  const found = await find();
  if (keep(found)) await store(file, { bootId: id, value: found });
  return found;
}

async function store(file: string, remembered: Remembered): Promise<void> {
  try {
    const part = `${file}.${process.pid}`;
    await writeFile(part, `${JSON.stringify(remembered)}\n`, { mode: 0o644 });
    await rename(part, file);
  } catch (cause) {
    throw new MachineError("host", `${file} can't be written`, { cause });
  }
}

function parseRemembered(text: string): Remembered | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null) return undefined;
    if (!("bootId" in value) || typeof value.bootId !== "string" || !("value" in value)) return undefined;
    return { bootId: value.bootId, value: value.value };
  } catch {
    return undefined;
  }
}
