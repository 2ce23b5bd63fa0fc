import { writeFileSync } from "node:fs";
import { doctorReport } from "@exai/api/host";
import { z } from "zod";

export const doctorSchemaFile = new URL("../../../../spec/doctor.schema.json", import.meta.url);

/** JSON Schema 2020-12 of what `exai doctor --json` prints, for programs of others. */
export const doctorSchema = (): unknown => ({
  title: "exai.doctor/v1",
  ...z.toJSONSchema(doctorReport),
});

if (import.meta.main) writeFileSync(doctorSchemaFile, `${JSON.stringify(doctorSchema(), null, 2)}\n`);
