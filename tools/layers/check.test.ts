import { describe, expect, it } from "vitest";
import { checkSource, importsOf } from "./check.ts";

const messages = (path: string, source: string) => checkSource(path, source).map((each) => each.message);

describe("layers", () => {
  it("sees every form of import, over lines too", () => {
    const source = `import a from "x";\nimport {\n  b,\n} from "@exai/base";\nexport * from "y/z";\nimport "w";\nawait import("v");`;
    expect(importsOf(source).map((each) => each.specifier)).toEqual(["x", "@exai/base", "y/z", "w", "v"]);
  });

  it("refuses what the table does not allow", () => {
    expect(messages("control/src/a.ts", `import { x } from "@exai/machine";`)).toEqual([
      "control must not import machine",
    ]);
    expect(messages("node/src/a.ts", `import http from "node:http";`)).toEqual(["node must not use node:http"]);
    expect(messages("base/src/a.ts", `import { z } from "zod";`)).toEqual(["base must not depend on zod"]);
    expect(messages("cli/src/a.ts", `import { up } from "@exai/host";`)).toEqual(["cli must not import host"]);
    expect(messages("sdk/src/a.ts", `import { x } from "../../control/src/x.ts";`)).toHaveLength(1);
  });

  it("allows what it allows", () => {
    expect(messages("cli/src/a.ts", `const { upCommand } = await import("@exai/host");`)).toEqual([]);
    expect(messages("host/src/b/c.ts", `import { x } from "../d.ts";\nimport { y } from "@exai/node";`)).toEqual([]);
    expect(messages("base/src/a.test.ts", `import { it } from "vitest";`)).toEqual([]);
  });
});
