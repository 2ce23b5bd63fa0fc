export { type DialOptions, dialGuest } from "./dial.ts";
export { channelFault, GuestError, type GuestErrorCode } from "./errors.ts";
export { type GuestLimits, guestLimits } from "./limits.ts";
export { type ConnectOptions, connectGuest, type GuestSession, guestContract, sayHello } from "./session.ts";
