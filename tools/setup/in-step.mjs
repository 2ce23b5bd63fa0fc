// Exit 0 when node_modules holds exactly what package-lock.json says. Plain JavaScript for the Node that is there
// before ours is: it must run on Node 20.
import { readFileSync } from "node:fs";

const read = (path) => {
  try {
    return JSON.parse(readFileSync(path, "utf8")).packages;
  } catch {
    return undefined;
  }
};
const wanted = read("package-lock.json");
const installed = read("node_modules/.package-lock.json");
const differs = ([path, entry]) => {
  if (path === "" || !path.startsWith("node_modules/") || entry.link) return false;
  const have = installed[path];
  // Optional ones for other machines are not installed.
  if (have === undefined) return !entry.optional;
  return have.version !== entry.version || have.integrity !== entry.integrity;
};
process.exit(wanted && installed && !Object.entries(wanted).some(differs) ? 0 : 1);
