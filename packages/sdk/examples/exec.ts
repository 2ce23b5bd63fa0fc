/**
 * Runs commands in a workspace and streams their output: `node packages/sdk/examples/exec.ts`
 * Needs a running stack (`exai up -d`) and its profile: EXAI_HOME or the default home.
 */
import { Client, shellCode } from "@exai/sdk";
import { imageDigest } from "./image.ts";

await using client = await Client.open();
const workspace = await client.workspaces.create({
  image: imageDigest(client, "base"),
  memoryMib: 256,
  ttlSeconds: 3600,
});
try {
  // The short way: bounded output, all at once.
  const hello = await workspace.run(["uname", "-sr"]);
  console.log("it runs", hello.stdout.toString().trim());

  // The streaming way: output as it comes, input as it is wanted.
  await using execution = await workspace.exec(["python3", "-u", "-c", "for n in range(3): print(n, input())"], {
    stdin: true,
    timeoutMs: 60_000,
  });
  await execution.write("one\ntwo\nthree\n");
  await execution.closeStdin();
  execution.ignore("stderr");
  for await (const data of execution.stdout) process.stdout.write(data);
  console.log("exit code", shellCode(await execution.wait()));
} finally {
  await workspace.destroy();
}
