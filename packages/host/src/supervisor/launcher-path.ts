import { resolve } from "node:path";

/** Where set-up puts the launcher. */
export const launcherPath = (): string =>
  resolve(import.meta.dirname, "../../../../native/target/x86_64-unknown-linux-musl/release/exai-launcher");
