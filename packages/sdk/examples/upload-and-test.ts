/**
 * Uploads a folder, runs a command in it and brings one file back:
 * `node packages/sdk/examples/upload-and-test.ts ./project report.txt -- sh -c 'python3 -m unittest 2>report.txt'`
 */
import { Client, shellCode } from "@exai/sdk";
import { imageDigest } from "./image.ts";

const [folder, report, dash, ...command] = process.argv.slice(2);
if (folder === undefined || report === undefined || dash !== "--" || command.length === 0) {
  console.error("usage: upload-and-test.ts FOLDER REPORT -- COMMAND…");
  process.exit(2);
}

await using client = await Client.open();
const workspace = await client.workspaces.create({ image: imageDigest(client, "base"), ttlSeconds: 3600 });
try {
  const sent = await workspace.files.upload(folder, "/home/user/work");
  console.error(`uploaded ${sent.files} files, ${sent.bytes} bytes`);
  await using execution = await workspace.exec(command, {
    cwd: "/home/user/work",
    timeoutMs: 600_000,
    onOutput: (stream, data) => void process[stream].write(data),
  });
  process.exitCode = shellCode(await execution.wait());
  await workspace.files.download(`/home/user/work/${report}`, ".");
} finally {
  await workspace.destroy();
}
