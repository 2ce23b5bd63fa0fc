/** One disposable microVM: its guest channel, its VMM, its life. */
export * from "./guest/index.ts";
