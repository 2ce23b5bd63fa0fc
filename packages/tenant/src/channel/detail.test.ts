import { create } from "@bufbuild/protobuf";
import { StartRequestSchema } from "@exai/api/guest";
import { encodeEvent, eventLimits } from "@exai/audit";
import fc from "fast-check";
import { expect, test } from "vitest";
import { argvDetail, pathText } from "./detail.ts";

const event = (request: Parameters<typeof argvDetail>[0]) =>
  ({ ts: 1, actor: "a", action: "process.start", outcome: "ok", ...argvDetail(request) }) as const;

test("whatever is started, its event is within the limits", () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 64 }),
    fc.constantFrom("\u0001", "\ud83d\ude00", "é", "\\", '"', "x").map((text) => Buffer.from(text.repeat(20_000))),
  );
  const request = fc.record({
    argv: fc.array(bytes, { maxLength: 40 }),
    cwd: bytes,
    user: fc.string({ maxLength: 200 }),
    env: fc.array(fc.record({ name: bytes, value: bytes }), { maxLength: 100 }),
  });
  fc.assert(
    fc.property(request, (each) => {
      expect(encodeEvent(event(create(StartRequestSchema, each))).length).toBeLessThanOrEqual(eventLimits.bytes);
    }),
    { numRuns: 300 },
  );
});

test("a name of control characters can be witnessed, twice in one event", () => {
  const path = pathText(Buffer.alloc(4096, 1));
  const rename = {
    ts: 1,
    actor: "a",
    action: "file.rename",
    target: path,
    outcome: "ok",
    detail: { to: path },
  } as const;
  expect(encodeEvent(rename).length).toBeLessThanOrEqual(eventLimits.bytes);
});

test("what was cut is covered by a digest, and says so", () => {
  const argv = [Buffer.from("sh"), Buffer.from("x".repeat(100_000)), Buffer.from("; rm -rf /")];
  const { detail } = argvDetail(create(StartRequestSchema, { argv }));
  expect(detail["argvCut"]).toBe(true);
  expect(detail["argvCount"]).toBe(3);
  const other = argvDetail(create(StartRequestSchema, { argv: [...argv.slice(0, 2), Buffer.from("; rm -rf ~")] }));
  expect(other.detail["argvSha256"]).not.toBe(detail["argvSha256"]);
});

test("bytes that are no text are shown byte by byte, and no value of a variable is shown", () => {
  expect(pathText(Buffer.from([0x2f, 0xff, 0x41]))).toBe("/\\xffA");
  expect(pathText(Buffer.from("/ä"))).toBe("/ä");
  const env = [{ name: Buffer.from("TOKEN"), value: Buffer.from("sesame") }];
  const { detail } = argvDetail(create(StartRequestSchema, { argv: [Buffer.from("a")], env }));
  expect(JSON.stringify(detail)).toContain("TOKEN");
  expect(JSON.stringify(detail)).not.toContain("sesame");
});
