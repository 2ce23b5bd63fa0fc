import { firecrackerConfig, launchRequest } from "@exai/api/host";
import { newLifetimeId, newWorkspaceId } from "@exai/base";
import { expect, test } from "vitest";
import { image } from "../plan.fixture.ts";
import { planFirecracker } from "./plan.ts";

const plan = planFirecracker({ ...image, commandLine: "word=1" }, { cpus: 2, memoryMib: 512 });
const config = firecrackerConfig.parse(JSON.parse(plan.config ?? ""));

test("is a launch request that the node agent takes", () => {
  launchRequest.parse({ ...plan, workspace: newWorkspaceId(), lifetime: newLifetimeId() });
  expect(plan).toMatchObject({ vmm: "firecracker", kvm: true, cpus: 2, memoryMib: 512 });
});

test("gives the guest its devices, each bounded, and no network", () => {
  expect(Object.keys(config).sort()).toEqual(
    ["balloon", "boot-source", "drives", "entropy", "logger", "machine-config", "metrics", "vsock"].sort(),
  );
  expect(config.drives.map((each) => [each.drive_id, each.is_read_only])).toEqual([
    ["root", true],
    ["overlay", false],
  ]);
  for (const { rate_limiter } of config.drives) expect(Object.keys(rate_limiter)).toEqual(["bandwidth", "ops"]);
  expect(config.entropy.rate_limiter.bandwidth?.size).toBeGreaterThan(0);
});

test("tells the agent where its channel is, and the manifest's words last", () => {
  expect(config["boot-source"].boot_args).toMatch(/exai\.channel=vsock:1024 word=1$/);
});
