import { expect, test } from "vitest";
import { exitReason } from "./exit.ts";

test("a forbidden system call is told, whichever VMM made it", () => {
  expect(exitReason("firecracker", { code: 148 })).toMatch(/^the VMM died \(148\): it made a system call/);
  expect(exitReason("qemu", { signal: 31 })).toMatch(/^the VMM died of signal 31: it made a system call/);
});

test("Firecracker's codes are not read into QEMU's", () => {
  expect(exitReason("qemu", { code: 148 })).toBe("the VMM ended with 148");
});

test("every end has a sentence", () => {
  for (let number = 0; number < 256; number++) {
    expect(exitReason("firecracker", { code: number })).toMatch(/^the VMM .{5,100}$/);
    expect(exitReason("qemu", { signal: number })).toMatch(/^the VMM .{5,100}$/);
  }
  expect(exitReason("qemu", {})).toBe("the VMM died together with its launcher");
});
