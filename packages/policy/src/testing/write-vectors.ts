import { writeFileSync } from "node:fs";
import { vectors } from "./vectors.ts";

writeFileSync(
  new URL("../../../../spec/vectors/intents.json", import.meta.url),
  `${JSON.stringify(vectors, null, 2)}\n`,
);
