import { expect, test } from "vitest";
import { run } from "./exec.ts";

test("what takes too long is killed, and says why", async () => {
  const late = await run("sh", ["-c", "echo begun >&2; exec sleep 30"], { timeoutMs: 200 });
  expect(late).toMatchObject({ code: -1, stderr: "took longer than 0.2 s" });
});

test("what ends in time keeps its own words", async () => {
  const own = await run("sh", ["-c", "echo why >&2; kill -9 $$"]);
  expect(own).toMatchObject({ code: -1, stderr: "why\n" });
});
