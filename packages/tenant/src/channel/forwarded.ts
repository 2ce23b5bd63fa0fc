import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { Files, Ports, Processes } from "@exai/api/guest";
import { WorkspaceFiles, WorkspacePorts, WorkspaceProcesses } from "@exai/api/workspace";
import { invariant } from "@exai/base";

/** A method of the data plane that means the guest's method of the same name, with the same messages. */
export interface Forwarded {
  readonly method: DescMethod;
  readonly guestMethod: DescMethod;
  readonly guest: "processes" | "files" | "ports";
}

const services: readonly (readonly [DescService, DescService, Forwarded["guest"]])[] = [
  [WorkspaceProcesses, Processes, "processes"],
  [WorkspaceFiles, Files, "files"],
  [WorkspacePorts, Ports, "ports"],
];

export const forwarded: readonly Forwarded[] = services.flatMap(([ours, theirs, guest]) =>
  ours.methods.map((method) => {
    const guestMethod = theirs.methods.find(({ name }) => name === method.name);
    invariant(guestMethod !== undefined, `the guest has no method ${method.name}`);
    invariant(guestMethod.input === method.input && guestMethod.output === method.output, `${method.name} differs`);
    invariant(guestMethod.methodKind === method.methodKind, `${method.name} is another kind of call`);
    return { method, guestMethod, guest };
  }),
);
