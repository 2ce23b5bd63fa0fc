import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { loadImage, resolveImageName } from "@exai/machine";
import { describe, expect, it } from "vitest";
import { missingOptions } from "../../tools/build/kconfig.ts";
import { buildKernel } from "../../tools/build/kernel.ts";
import { parseTable, wrongRows } from "../../tools/build/kspp.ts";
import { cachePaths, root } from "../../tools/build/paths.ts";

/** Of what `make build` has built; the contract suite of packages/machine boots both images. */
const { images, release } = cachePaths();
const releaseKeys = () => [readFileSync(join(release, "release.pub"), "utf8").trim()];

describe("the built images", () => {
  for (const [name, flavor] of [
    ["base", "exai"],
    ["base-stock", "stock"],
  ] as const) {
    it(`${name} is signed and whole`, async () => {
      const image = await loadImage(images, await resolveImageName(images, name), releaseKeys());
      expect(image).toMatchObject({ name, kernelFlavor: flavor, rootfsType: "erofs" });
      for (const path of Object.values(image.paths)) {
        const { mode } = statSync(path);
        // Readable by the VMMs' users, writable by nobody.
        expect((mode & 0o777).toString(8)).toBe("444");
        expect(readFileSync(path).length).toBeGreaterThan(100_000);
      }
    });
  }

  it("share root file system and are two kernels", async () => {
    const [ours, stock] = await Promise.all(
      ["base", "base-stock"].map(async (name) =>
        loadImage(images, await resolveImageName(images, name), releaseKeys()),
      ),
    );
    expect(ours?.rootfs).toBe(stock?.rootfs);
    expect(ours?.kernel).not.toBe(stock?.kernel);
    expect(statSync(ours?.paths.rootfs ?? "").size).toBeLessThan(600 * 2 ** 20);
  });

  it("the release key is for its owner only", () => {
    expect((statSync(join(release, "release.key")).mode & 0o777).toString(8)).toBe("600");
  });
});

describe("the guest kernel", () => {
  it("has every option that was asked for, and its table of hardening is true", async () => {
    const { folder } = await buildKernel();
    const config = readFileSync(join(folder, "config"), "utf8");
    expect(missingOptions(readFileSync(join(root, "native/kernel/exai.config"), "utf8"), config)).toEqual([]);
    expect(wrongRows(parseTable(readFileSync(join(root, "native/kernel/README.md"), "utf8")), config)).toEqual([]);
    expect(statSync(join(folder, "vmlinux")).size).toBeLessThan(24 * 2 ** 20);
  });
});
