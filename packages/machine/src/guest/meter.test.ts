import { expect, it } from "vitest";
import { guestLimits } from "./limits.ts";
import { FrameMeter } from "./meter.ts";

/** RFC 9113 section 4.1; stream 0, no payload. */
function frame(type: number, flags = 0): Buffer {
  const header = Buffer.alloc(9);
  header[3] = type;
  header[4] = flags;
  return header;
}

it("refuses a connection whose first frame is anything but SETTINGS, by that frame alone", () => {
  const meter = () => new FrameMeter(guestLimits, () => 0);
  for (const first of [frame(0), frame(1), frame(6), frame(4, 1), Buffer.alloc(64 << 10)]) {
    expect(() => meter().push(first)).toThrow("did not begin with its settings");
  }
  const begun = meter();
  expect(begun.push(frame(4))).toBe(0);
  expect(begun.push(frame(6, 1))).toBe(0);
});
