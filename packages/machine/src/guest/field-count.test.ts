import { create, toBinary } from "@bufbuild/protobuf";
import { ListProcessesResponseSchema } from "@exai/api/guest";
import { expect, it } from "vitest";
import { boundFields } from "./field-count.ts";

const process = { process: 1n, pid: 2, argv: [Buffer.from("ls"), Buffer.from("-l"), Buffer.alloc(0)], user: "root" };
const list = (count: number) =>
  toBinary(ListProcessesResponseSchema, create(ListProcessesResponseSchema, { processes: Array(count).fill(process) }));

it("counts entries and what is in them", () => {
  // Each: itself, process, pid, three arguments, user; and "ls", "-l" and "root" look like no fields.
  expect(() => boundFields(list(10), 70)).not.toThrow();
  expect(() => boundFields(list(10), 69)).toThrow("more than 69 fields");
});

it("refuses what is no message", () => {
  for (const bytes of [[0xff], [0x0a, 5, 1], [0x0b], Array(20).fill(0xff)]) {
    expect(() => boundFields(Uint8Array.from(bytes), 100)).toThrow("not a message");
  }
});
