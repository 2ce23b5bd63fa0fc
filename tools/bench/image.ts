import { resolveImageName } from "@exai/machine";
import type { Client } from "@exai/sdk";

/** The digest of the image with our kernel, by the store that the tenant's profile names. */
export const baseImage = (client: Client): Promise<string> =>
  resolveImageName(client.loaded.profile.imageStore, "base");
