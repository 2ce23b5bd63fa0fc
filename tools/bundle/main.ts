/** Makes build/cli: `npm run build:cli`. Part of `make build`. */
import { bundleCli } from "./bundle.ts";

const from = performance.now();
const { folder, hit } = await bundleCli();
console.error(hit ? `${folder} is fresh` : `${folder} made in ${Math.round(performance.now() - from)} ms`);
