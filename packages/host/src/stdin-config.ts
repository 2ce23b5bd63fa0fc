import { createInterface } from "node:readline";

/**
 * The first line of standard input as JSON. The input stays open afterwards; its end means that the supervisor is
 * gone, and then this process ends too: two brokers or agents of one stack must never meet.
 */
export async function readStdinConfig<T>(schema: { parse(value: unknown): T }): Promise<T> {
  const lines = createInterface({ input: process.stdin });
  lines.once("close", () => process.exit(0));
  const line = await new Promise<string>((resolve) => lines.once("line", resolve));
  return schema.parse(JSON.parse(line));
}
