import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Cached, cached, treeInputs } from "./cached.ts";
import { type FetchedDeb, type FetchOptions, fetchDebs, fetchNpm } from "./debs.ts";
import { BuildError } from "./errors.ts";
import { makeArchive } from "./local-archive.ts";
import { type RecipeName, readLock, readRecipe, recipeFolders } from "./recipe.ts";
import { run } from "./run.ts";
import { finishTree } from "./tree.ts";

export const rootfsFormat = "erofs";

/** Documentation is left out, licences are not. */
const leftOut = [
  "path-exclude=/usr/share/doc/*",
  "path-include=/usr/share/doc/*/copyright",
  "path-exclude=/usr/share/man/*",
  "path-exclude=/usr/share/info/*",
  "path-exclude=/usr/share/locale/*",
  "path-exclude=/usr/share/lintian/*",
  // The result is thrown away when anything fails: no need to sync each file.
  "force-unsafe-io",
];

/** One image's root file system, as a kind of cached result. */
export interface RootfsSpec {
  kind: string;
  recipe: RecipeName;
  /** Of mkfs.erofs. */
  packing: readonly string[];
  /** What this image needs beside packages and files; part of the code, so `version` rises when it changes. */
  change?: (tree: string) => Promise<void>;
  version: string;
}

/** `rootfs.erofs`, from the recipe's lock and files alone. */
export async function buildRootfs(spec: RootfsSpec, options: FetchOptions & { buildFolder?: string }): Promise<Cached> {
  const recipe = readRecipe(spec.recipe);
  const lock = readLock(spec.recipe);
  const files = join(recipeFolders[spec.recipe], "files");
  const debs = await fetchDebs(lock.debs, options);
  const npm = await Promise.all(lock.npm.map(async (each) => ({ ...each, path: await fetchNpm(each) })));
  const inputs = [
    String(lock.epoch),
    ...debs.map((deb) => `${deb.name} ${deb.sha256}`),
    ...npm.map((each) => each.integrity),
    ...treeInputs(files),
    ...leftOut,
    spec.version,
  ];
  return cached(
    spec.kind,
    inputs,
    async (folder) => {
      if (process.getuid?.() !== 0) {
        throw new BuildError(
          "input",
          "a root file system needs root to build, since its files belong to several users: use sudo",
        );
      }
      const work = join(folder, "work");
      mkdirSync(work);
      const tree = join(work, "tree");
      await bootstrap(recipe.suite, debs, work, tree);
      await finishTree(tree, { files, npm, epoch: lock.epoch, change: spec.change });
      await makeErofs(tree, join(folder, `rootfs.${rootfsFormat}`), lock.epoch, spec.packing);
      rmSync(work, { recursive: true });
    },
    { buildFolder: options.buildFolder },
  );
}

async function bootstrap(suite: string, debs: readonly FetchedDeb[], work: string, tree: string): Promise<void> {
  const source = await makeArchive(debs, join(work, "archive"));
  await run(
    [
      "mmdebstrap",
      "--quiet",
      "--mode=root",
      "--variant=apt",
      "--format=directory",
      `--include=${debs.map(({ name }) => name).join(",")}`,
      ...leftOut.map((option) => `--dpkgopt=${option}`),
      "--aptopt=APT::Install-Recommends false",
      suite,
      tree,
      source,
    ],
    // With this set, Debian's Python would compile to files that hash their source at each import.
    { env: { SOURCE_DATE_EPOCH: undefined, PYTHONHASHSEED: "0", TMPDIR: work } },
  );
}

async function makeErofs(tree: string, image: string, epoch: number, packing: readonly string[]): Promise<void> {
  // A fixed UUID and no younger time than the epoch: equal trees give equal bytes.
  const uuid = "00000000-0000-4000-8000-000000000000";
  await run(["mkfs.erofs", ...packing, "-U", uuid, image, tree], { env: { SOURCE_DATE_EPOCH: String(epoch) } });
}
