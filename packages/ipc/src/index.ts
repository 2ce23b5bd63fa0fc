/** Calls between processes of one host over a UNIX socket: a closed set of methods, one JSON line each. */
export { createIpcClient, type IpcClient } from "./client.ts";
export {
  type Contract,
  type Handlers,
  IpcError,
  type IpcErrorCode,
  type RequestOf,
  type ResponseOf,
  type Schema,
} from "./contract.ts";
export { maxFrameBytes } from "./frames.ts";
export { type IpcServerOptions, serveIpc } from "./server.ts";
