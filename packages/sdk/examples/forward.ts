/** Starts a web server in a workspace and reads from it through a local port: `node packages/sdk/examples/forward.ts` */
import { setTimeout as delay } from "node:timers/promises";
import { Client } from "@exai/sdk";
import { imageDigest } from "./image.ts";

await using client = await Client.open();
const workspace = await client.workspaces.create({
  image: imageDigest(client, "base"),
  memoryMib: 256,
  ttlSeconds: 3600,
});
try {
  await workspace.files.write("/tmp/site/index.html", "hello from the guest\n", { parents: true });
  await using _server = await workspace.exec(["python3", "-m", "http.server", "8000", "--bind", "127.0.0.1"], {
    cwd: "/tmp/site",
    onOutput: () => undefined,
  });
  await using forward = await workspace.forward(8000, { localPort: 0 });
  console.log(`port 8000 of the guest is ${forward.address}:${forward.port} here`);
  console.log(await firstAnswer(`http://${forward.address}:${forward.port}/`));
} finally {
  await workspace.destroy();
}

async function firstAnswer(url: string): Promise<string> {
  for (let tries = 0; ; tries++) {
    try {
      return await (await fetch(url)).text();
    } catch (error) {
      if (tries === 50) throw error;
      await delay(100); // the server is starting
    }
  }
}
