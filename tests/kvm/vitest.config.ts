import { defineConfig } from "vitest/config";

/** Of the suites here alone: under emulation each project that Vitest sets up costs seconds. */
export default defineConfig({
  test: {
    name: "kvm",
    include: ["tests/kvm/**/*.test.ts"],
    fileParallelism: false,
    isolate: false,
    // Node itself loads the sources; Vite's transformation would cost as much as the tests.
    experimental: { viteModuleRunner: false },
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
});
