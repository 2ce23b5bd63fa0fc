import { setTimeout as delay } from "node:timers/promises";
import { serveDouble } from "../../../packages/machine/src/guest/double.ts";

// An honest double whose call lasts as long as an exec of `true` in an emulated guest. Run as `neighbour.ts SOCKET`.
export const execMs = 8;
await serveDouble(process.argv[2] ?? "", {
  processes: {
    wait: async () => {
      await delay(execMs);
      return { code: 0 };
    },
  },
});
process.stdout.write("listening\n");
process.stdin.on("end", () => process.exit(0)).resume();
