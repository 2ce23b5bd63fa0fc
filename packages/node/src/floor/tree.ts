import { mkdirSync, rmdirSync, writeFileSync } from "node:fs";
import { errorCode } from "@exai/base";
import { listIfThere, readIfThere } from "../files.ts";

/** Control groups as the kernel shows them; tests give a fake. */
export interface CgroupTree {
  /** Trimmed; undefined when there is no such file. */
  read(file: string): string | undefined;
  /** @throws the system's error */
  write(file: string, value: string): void;
  make(folder: string): void;
  /** False while something is still in it. */
  remove(folder: string): boolean;
  /** Names of the groups in it. */
  children(folder: string): string[];
}

export const kernelTree: CgroupTree = {
  read: (file) => readIfThere(file)?.trim(),
  // To write nothing is no system call at all: the line feed empties a set.
  write: (file, value) => writeFileSync(file, `${value}\n`),
  make: (folder) => void mkdirSync(folder, { recursive: true }),
  remove(folder) {
    try {
      rmdirSync(folder);
    } catch (error) {
      if (errorCode(error) === "EBUSY") return false;
      if (errorCode(error) !== "ENOENT") throw error;
    }
    return true;
  },
  children: (folder) =>
    listIfThere(folder)
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name),
};
