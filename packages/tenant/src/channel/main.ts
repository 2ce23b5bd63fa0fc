import { createInterface } from "node:readline";
import { type ChannelConfig, channelConfig } from "@exai/api/host";
import { createLogger, describeError } from "@exai/base";
import { TenantError } from "../errors.ts";
import { startChannel } from "./channel.ts";

/*
 * The process `channel`: configuration on standard input's first line; its end means that the supervisor is gone. It
 * holds no secret but the key of its own certificate, which lives as long as the process.
 */

const logger = createLogger({ process: "channel", write: (line) => void process.stderr.write(line) });

async function main(): Promise<void> {
  const lines = createInterface({ input: process.stdin });
  const ended = new Promise<void>((resolve) => {
    lines.once("close", resolve);
    process.once("SIGTERM", () => resolve());
  });
  const line = await new Promise<string | undefined>((resolve) => {
    lines.once("line", resolve);
    lines.once("close", () => resolve(undefined));
  });
  if (line === undefined) return;
  const channel = await startChannel(parseConfig(line), { logger });
  logger.log("info", "the data plane is open", { url: channel.url });
  await ended;
  // Containing steps in flight are written; a client that never ends its call is not waited for.
  setTimeout(() => process.exit(0), 2000).unref();
  await channel[Symbol.asyncDispose]();
}

/** @throws TenantError `config`, without the text, which holds a key */
function parseConfig(line: string): ChannelConfig {
  try {
    return channelConfig.parse(JSON.parse(line));
  } catch {
    throw new TenantError("config", "the configuration on standard input is not valid");
  }
}

try {
  await main();
  process.exit(0);
} catch (error) {
  logger.log("error", "the channel could not start", { why: describeError(error) });
  process.exit(1);
}
