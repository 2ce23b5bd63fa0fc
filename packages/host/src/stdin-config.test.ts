import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { expect, it } from "vitest";

/** A process that reads its configuration and then would run on. @returns what it printed, and its exit code */
async function read(input: string, onEnd: string): Promise<{ text: string; code: unknown }> {
  const script = `
    const { readStdinConfig } = await import(${JSON.stringify(join(import.meta.dirname, "stdin-config.ts"))});
    const alive = setTimeout(() => process.exit(9), 10_000);
    const config = await readStdinConfig({ parse: (value) => value }${onEnd});
    console.log(config.word);`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  let text = "";
  child.stdout.on("data", (chunk: Buffer) => {
    text += chunk.toString();
  });
  child.stdin.end(input);
  const [code] = await once(child, "exit");
  return { text, code };
}

it("whose supervisor is gone ends", async () => {
  expect(await read(`{"word":"hello"}\n`, "")).toMatchObject({ code: 0 });
  expect(await read("", "")).toMatchObject({ code: 0 });
});

it("writes its last word first where it has one", async () => {
  const lastWord = `, () => setTimeout(() => { console.log("bye"); process.exit(3); }, 20)`;
  expect(await read(`{"word":"hello"}\n`, lastWord)).toEqual({ text: "hello\nbye\n", code: 3 });
});
