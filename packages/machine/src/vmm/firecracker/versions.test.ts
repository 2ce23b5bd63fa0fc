import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FirecrackerApi, loadBody } from "./api.ts";
import { type DoubleOptions, FirecrackerDouble } from "./double.ts";
import { askFirecracker } from "./http.ts";

/** Against strict doubles: of the real ones, 1.12.1 alone can be run here (tests/kvm). */
let folder: string;
let next = 0;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "exai-fc-double-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

async function of(version: DoubleOptions["version"], state: DoubleOptions["state"] = "Not started") {
  const socketPath = join(folder, `s${next++}`);
  const double = await FirecrackerDouble.start({ socketPath, version, state });
  return { double, socketPath, api: new FirecrackerApi(socketPath) };
}
const put = (socketPath: string, path: string, body: object) =>
  askFirecracker(socketPath, { method: "PUT", path, body, timeoutMs: 2000 });

describe.each(["1.12.1", "1.16.2", "1.17.0"] as const)("a double of %s", (version) => {
  test("takes every call of the driver's, and goes through its states", async () => {
    const running = await of(version, "Running");
    await running.api.pause();
    await running.api.createSnapshot();
    expect(await running.api.state()).toBe("Paused");
    await running.api.resume();
    expect(await running.api.state()).toBe("Running");
    expect(running.double.granted.map(({ call }) => call)).toEqual(["PATCH /vm", "PUT /snapshot/create", "PATCH /vm"]);
    await running.double[Symbol.asyncDispose]();

    const fresh = await of(version);
    await fresh.api.loadSnapshot();
    expect(await fresh.api.state()).toBe("Paused");
    await fresh.double[Symbol.asyncDispose]();
  });

  test("is asked for clock and vsock exactly when it knows them", async () => {
    const { double, api } = await of(version);
    await api.loadSnapshot();
    const names = Object.keys(double.granted[0]?.body ?? {});
    const newer = ["clock_realtime", "vsock_override"].filter((name) => names.includes(name));
    expect(newer).toEqual(version === "1.12.1" ? [] : ["clock_realtime", "vsock_override"]);
    await double[Symbol.asyncDispose]();
  });

  test("refuses what the contract does not have, and calls at the wrong time", async () => {
    const { double, socketPath, api } = await of(version);
    const load = loadBody({ major: 1, minor: 12 });
    const wrong: [string, object, RegExp][] = [
      ["/snapshot/load", { ...load, more: 1 }, /unknown field `more`/],
      ["/snapshot/load", { ...load, resume_vm: "yes" }, /expected a boolean/],
      ["/snapshot/load", { ...load, mem_backend: { backend_type: "Disk", backend_path: "/m" } }, /unknown variant/],
      ["/snapshot/load", { mem_backend: load.mem_backend }, /missing field `snapshot_path`/],
      ["/snapshot/create", { snapshot_path: "/a" }, /missing field `mem_file_path`/],
      ["/nothing", {}, /Invalid request method/],
    ];
    for (const [path, body, says] of wrong) {
      const answer = await put(socketPath, path, body);
      expect(answer).toEqual({ status: 400, body: { fault_message: expect.stringMatching(says) } });
    }
    await expect(api.pause()).rejects.toMatchObject({
      code: "monitor",
      message: expect.stringMatching(/PATCH \/vm: The/),
    });
    await expect(api.createSnapshot()).rejects.toMatchObject({ message: expect.stringMatching(/not allowed/) });
    await api.loadSnapshot();
    await expect(api.loadSnapshot()).rejects.toMatchObject({ message: expect.stringMatching(/not allowed after/) });
    await double[Symbol.asyncDispose]();
  });
});

test("1.12 knows neither clock_realtime nor vsock_override: asked for them, it loads nothing", async () => {
  const { double, socketPath } = await of("1.12.1");
  for (const name of ["clock_realtime", "vsock_override"] as const) {
    const newer = loadBody({ major: 1, minor: 16 });
    const body = { ...loadBody({ major: 1, minor: 12 }), [name]: newer[name] };
    const { status, body: answer } = await put(socketPath, "/snapshot/load", body);
    expect(status).toBe(400);
    expect(answer).toEqual({ fault_message: expect.stringContaining(`unknown field \`${name}\``) });
  }
  expect(double.state).toBe("Not started");
  await double[Symbol.asyncDispose]();
});
