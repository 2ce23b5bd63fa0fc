import type { Socket } from "node:net";

/** How many one owner may hold; who has shown no token yet is a stranger, and all strangers are one owner. */
export const mostStrangers = 1024;
export const mostOfOne = 512;
const stranger = "";

/**
 * The open connections by who showed a good token on them. One too many ends the same owner's oldest: who has a token
 * shows it at once, so strangers only shut out each other.
 */
export class Connections {
  readonly #held = new Map<string, Set<Socket>>();
  readonly #owners = new WeakMap<Socket, string>();

  add(socket: Socket): void {
    this.#hold(socket, stranger, mostStrangers);
    socket.once("close", () => this.#release(socket));
  }

  /** Called for every request with a good token. */
  trust(socket: Socket, owner: string): void {
    const before = this.#owners.get(socket);
    if (before === undefined || before === owner) return;
    this.#release(socket);
    this.#hold(socket, owner, mostOfOne);
  }

  #hold(socket: Socket, owner: string, most: number): void {
    const held = this.#held.get(owner) ?? new Set();
    this.#held.set(owner, held);
    this.#owners.set(socket, owner);
    held.add(socket);
    if (held.size <= most) return;
    const [oldest] = held;
    if (oldest === undefined) return;
    this.#release(oldest);
    oldest.destroy();
  }

  #release(socket: Socket): void {
    const owner = this.#owners.get(socket);
    if (owner === undefined) return;
    this.#owners.delete(socket);
    const held = this.#held.get(owner);
    held?.delete(socket);
    if (held?.size === 0) this.#held.delete(owner);
  }
}
