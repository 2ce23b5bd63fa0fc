import type { VmContext } from "./context.ts";
import { NodeError } from "./errors.ts";
import { run } from "./exec.ts";
import { releaseFloor } from "./floor/vm-floor.ts";
import { removeSockets } from "./sockets.ts";
import { inspect } from "./state.ts";

/** SIGKILL to exactly this VMM, then waits until it and its launcher are gone; its files and groups are as they were. */
export async function endVmm(vm: VmContext): Promise<void> {
  const state = inspect(vm);
  if (state.kind === "running") {
    const { vmm, keeper } = state;
    const { code, stderr } = await run(vm.config.launcher, [
      "kill",
      ...["--pid", String(vmm.pid), "--start-time", String(vmm.startTime)],
      ...["--launcher-pid", String(keeper.pid), "--launcher-start-time", String(keeper.startTime)],
    ]);
    if (code !== 0) throw new NodeError("kill-failed", `the VMM does not end: ${stderr.trim().slice(0, 500)}`);
  }
}

export async function kill(vm: VmContext): Promise<void> {
  await endVmm(vm);
  vm.afterStep("kill");
  await releaseFloor(vm);
  removeSockets(vm);
}
