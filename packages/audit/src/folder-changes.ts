import { type FSWatcher, watch } from "node:fs";

/** Notification is a hint only (a watch can be refused or lost): everything is also looked at this often. */
const pollMs = 1000;

/** `entries`: a file or folder came, went or got another name. `content` as well: somebody wrote into a file. */
export type Watched = "entries" | "content";

/** Tells when something in a folder may have changed. */
export class FolderChanges implements Disposable {
  #watcher: FSWatcher | undefined;
  #changed = false;
  #wake: (() => void) | undefined;

  constructor(folder: string, active: boolean, watched: Watched = "content") {
    if (!active) return;
    try {
      this.#watcher = watch(folder, { persistent: false }, (event) => {
        if (watched === "content" || event === "rename") this.#note();
      });
      this.#watcher.on("error", () => undefined);
    } catch {
      // No inotify instance left: polling does it.
    }
  }

  #note(): void {
    this.#changed = true;
    this.#wake?.();
  }

  /** Returns after a change since the last call, after a while, or when the signal fires. */
  async wait(signal?: AbortSignal): Promise<void> {
    if (!this.#changed && !signal?.aborted) {
      await new Promise<void>((resolve) => {
        const done = () => {
          clearTimeout(timer);
          signal?.removeEventListener("abort", done);
          this.#wake = undefined;
          resolve();
        };
        const timer = setTimeout(done, pollMs);
        signal?.addEventListener("abort", done, { once: true });
        this.#wake = done;
      });
    }
    this.#changed = false;
  }

  [Symbol.dispose](): void {
    this.#watcher?.close();
    this.#wake?.();
  }
}
