import { HostError } from "../errors.ts";
import { run } from "../exec.ts";
import { uidOffsets } from "../home/paths.ts";

/**
 * Ends whatever runs with the uid of a service of this stack, known to the supervisor or not: a service that was broken
 * into may have put processes aside. Not the VMMs, whose uids lie above; they are the node agent's.
 * @throws HostError `child` when one stays
 */
export async function reapServices(launcher: string, uidBase: number): Promise<void> {
  const first = uidBase + uidOffsets.control;
  const count = uidOffsets.firstVm - uidOffsets.control;
  try {
    await run(launcher, ["reap", "--first", String(first), "--count", String(count)], 60_000);
  } catch (cause) {
    throw new HostError(
      "child",
      `processes of the stack's services (user ids from ${first}) could not be ended; end them and try again`,
      { cause },
    );
  }
}
