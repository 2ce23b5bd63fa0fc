export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/**
 * Lines for the operator, one JSON object each. Never prompts, arguments, paths in a guest or keys: those belong to
 * the tenant and go to its audit log only.
 */
export interface Logger {
  log(level: LogLevel, message: string, fields?: LogFields): void;
}

interface LogOptions {
  process: string;
  write: (line: string) => void;
  nowMs?: () => number;
  /** Lines a second before the rest is dropped and counted: what a guest can trigger must not fill a disk. */
  linesPerSecond?: number;
}

const longestField = 512;

export function createLogger(options: LogOptions): Logger {
  const nowMs = options.nowMs ?? Date.now;
  const limit = options.linesPerSecond ?? 50;
  let second = 0;
  let lines = 0;
  let dropped = 0;
  return {
    log(level, message, fields = {}) {
      const now = nowMs();
      if (Math.floor(now / 1000) !== second) {
        second = Math.floor(now / 1000);
        lines = 0;
      }
      if (++lines > limit) {
        dropped++;
        return;
      }
      const line: Record<string, unknown> = { ts: new Date(now).toISOString(), level, process: options.process };
      line["message"] = message.slice(0, longestField);
      for (const [key, value] of Object.entries(fields)) {
        line[key] = typeof value === "string" ? value.slice(0, longestField) : value;
      }
      if (dropped > 0) line["droppedLines"] = dropped;
      dropped = 0;
      options.write(`${JSON.stringify(line)}\n`);
    },
  };
}
