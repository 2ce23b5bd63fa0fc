import { createInterface } from "node:readline";

/**
 * The first line of standard input as JSON. The input stays open afterwards; its end means that the supervisor is
 * gone, and then this process ends too: two brokers or agents of one stack must never meet.
 * @param onEnd of who has a last word to write first; it must end the process within the supervisor's patience
 */
export async function readStdinConfig<T>(
  schema: { parse(value: unknown): T },
  onEnd: () => void = () => process.exit(0),
): Promise<T> {
  const lines = createInterface({ input: process.stdin });
  lines.once("close", onEnd);
  const line = await new Promise<string>((resolve) => lines.once("line", resolve));
  return schema.parse(JSON.parse(line));
}
