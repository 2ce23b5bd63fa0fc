/** The operator's commands; the CLI loads this package only for them. */
export { type DoctorOptions, doctorCommand } from "./commands/doctor.ts";
export { type DownOptions, downCommand } from "./commands/down.ts";
export { type CommandIo, defaultHome, type HomeOption } from "./commands/io.ts";
export { readStatus, statusCommand } from "./commands/status.ts";
export { type TenantOptions, tenantCommand } from "./commands/tenant.ts";
export { type UpOptions, upCommand } from "./commands/up.ts";
export type { StackStatus } from "./contracts.ts";
export { HostError } from "./errors.ts";
