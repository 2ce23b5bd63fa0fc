/** The data plane's services of spec/workspace.proto, generated. */
export * from "./gen/workspace_pb.js";
