/** This process's terminal in raw mode; restored when disposed and on every exit, also one by an error. */
export class RawTerminal implements Disposable {
  readonly #restore: () => void;

  constructor() {
    process.stdin.setRawMode(true);
    this.#restore = () => {
      if (process.stdin.isTTY) process.stdin.setRawMode(false);
    };
    process.once("exit", this.#restore);
  }

  [Symbol.dispose](): void {
    process.off("exit", this.#restore);
    this.#restore();
  }
}

/** Size of the terminal here; 24 by 80 where there is none. */
export const terminalSize = (): { rows: number; columns: number } => ({
  rows: process.stdout.rows || 24,
  columns: process.stdout.columns || 80,
});

export const isTerminal = (): boolean => process.stdin.isTTY === true && process.stdout.isTTY === true;

/** Ctrl-P Ctrl-Q, as Docker has it. */
const detachKeys = [0x10, 0x11] as const;

/** Finds the keys that leave a program running; a lone Ctrl-P is handed on with the next key. */
export class DetachKeys {
  #held = false;

  /** The bytes to hand on, or `undefined` when the keys were typed. */
  filter(chunk: Buffer): Buffer | undefined {
    const out: number[] = [];
    for (const byte of chunk) {
      if (this.#held) {
        if (byte === detachKeys[1]) return undefined;
        out.push(detachKeys[0]);
        this.#held = false;
      }
      if (byte === detachKeys[0]) this.#held = true;
      else out.push(byte);
    }
    return Buffer.from(out);
  }
}
