import { formatBytes } from "@exai/base";
import type { TreeProgress } from "@exai/sdk";
import { Presets, SingleBar } from "cli-progress";
import type { Io } from "../io.ts";
import { clean } from "./clean.ts";

export interface CopyBar extends Disposable {
  update(progress: Readonly<TreeProgress>): void;
}

/** A bar on standard error for a person; nothing where nobody looks. */
export function copyBar(io: Io, name: string): CopyBar {
  if (!io.interactive) return { update: () => undefined, [Symbol.dispose]: () => undefined };
  const format = `${clean(name).slice(0, 40)} {bar} {done} of {all}, {files} files`;
  const bar = new SingleBar(
    { format, stream: process.stderr, clearOnComplete: true, hideCursor: false },
    Presets.shades_classic,
  );
  let started = false;
  return {
    update(progress) {
      const total = progress.totalBytes || progress.bytes || 1;
      const payload = {
        done: formatBytes(progress.bytes),
        all: progress.totalBytes ? formatBytes(total) : "?",
        files: progress.files,
      };
      if (!started) bar.start(total, 0, payload);
      started = true;
      if (progress.totalBytes === 0) bar.setTotal(total);
      bar.update(progress.bytes, payload);
    },
    [Symbol.dispose]() {
      if (started) bar.stop();
      started = false;
    },
  };
}
