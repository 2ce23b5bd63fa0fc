/** The control plane: schedules and stores signed intents, and can only stop. Run `main.ts`; the rest is for tests. */
export { ControlError, type ControlErrorCode, type ProblemCode, problemStatus } from "./errors.ts";
export { type ControlServer, startControl } from "./server.ts";
