/** Messages and services of spec/guest.proto, generated. */
export * from "./gen/guest_pb.js";
