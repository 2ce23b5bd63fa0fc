import type { WorkspaceId } from "@exai/base";

const remembered = 1000;
const perMinute = 60;

/**
 * Which refusals are said: each once, since the control plane lists it again at every poll, and few a minute, since a
 * control plane that invents workspaces must not fill a tenant's audit log. One that was passed over is said later.
 */
export class Refusals {
  readonly #said = new Map<WorkspaceId, string>();
  #minute = 0;
  #count = 0;

  /** True when this one is to be said now. */
  take(workspace: WorkspaceId, message: string, nowMs: number): boolean {
    if (this.#said.get(workspace) === message) return false;
    const minute = Math.floor(nowMs / 60_000);
    if (minute !== this.#minute) {
      this.#minute = minute;
      this.#count = 0;
    }
    if (++this.#count > perMinute) return false;
    if (this.#said.size >= remembered) this.#said.clear();
    this.#said.set(workspace, message);
    return true;
  }
}
