/** The control plane: stores what tenants signed and tells hosts. It holds no key and can only stop. */
import { createInterface } from "node:readline";
import { controlConfig } from "@exai/api/host";
import { createLogger, describeError } from "@exai/base";
import { startControl } from "./server.ts";

const logger = createLogger({ process: "control", write: (line) => void process.stderr.write(line) });

try {
  const lines = createInterface({ input: process.stdin });
  const ended = new Promise<void>((resolve) => lines.once("close", resolve));
  const first = await Promise.race([
    new Promise<string>((resolve) => lines.once("line", resolve)),
    ended.then(() => undefined),
  ]);
  if (first !== undefined) {
    const config = controlConfig.parse(JSON.parse(first));
    await using _server = await startControl(config, logger);
    logger.log("info", "control plane started", { startMs: Math.round(performance.now()) });
    // The supervisor keeps the input open; its end, or a signal, is the order to stop.
    await Promise.race([ended, new Promise((resolve) => process.once("SIGTERM", resolve))]);
  }
} catch (error) {
  logger.log("error", "the control plane did not start", { reason: describeError(error) });
  process.exitCode = 1;
}
process.exit();
