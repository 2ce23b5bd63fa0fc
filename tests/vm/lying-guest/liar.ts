import { rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { create, toBinary } from "@bufbuild/protobuf";
import { HelloResponseSchema } from "@exai/api/guest";
import { type Attack, attacks, type Wire } from "./attacks.ts";
import { data, envelope, FrameReader, flag, frame, responseHeaders, trailers, type, u32 } from "./frames.ts";

// A fake: a guest that says hello like an honest one and then breaks the rules. Run as `liar.ts SOCKET ATTACK`.
const [, , path = "", name = ""] = process.argv;
const attack = attacks[name];
if (attack === undefined) throw new Error(`no attack '${name}'`);

function serve(socket: Socket, attack: Attack): void {
  const reader = new FrameReader();
  let hello = true;
  const wire: Wire = {
    send: async (bytes) => {
      if (socket.destroyed) return false;
      if (!socket.write(bytes)) await new Promise<void>((resolve) => resume(socket, resolve));
      return !socket.destroyed;
    },
  };
  socket.on("error", () => undefined);
  if (name === "HTTP/1.1") socket.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  // A stream of its own may get 1 byte of window, then nothing.
  const window = attack.noWindow === true ? 0 : 1 << 20;
  if (attack.mute !== true) socket.write(frame(type.settings, 0, 0, Buffer.concat([Buffer.from([0, 4]), u32(window)])));
  socket.on("data", (chunk) => {
    for (const each of reader.push(chunk)) {
      if (each.kind === type.settings && (each.flags & flag.ack) === 0 && attack.mute !== true) {
        socket.write(frame(type.settings, flag.ack, 0));
      }
      if (each.kind === type.ping && (each.flags & flag.ack) === 0 && attack.deaf !== true) {
        socket.write(frame(type.ping, flag.ack, 0, each.payload));
      }
      if (each.kind !== type.headers) continue;
      if (hello && (attack.call !== "hello" || attack.contract !== undefined))
        socket.write(answerHello(each.stream, attack));
      else void attack.run(wire, each.stream);
      hello = false;
    }
  });
}

function resume(socket: Socket, resolve: () => void): void {
  const done = () => {
    socket.off("drain", done);
    socket.off("close", done);
    resolve();
  };
  socket.on("drain", done);
  socket.on("close", done);
}

function answerHello(stream: number, attack: Attack): Buffer {
  const hello = create(HelloResponseSchema, { contract: attack.contract ?? 1, agentVersion: "liar" });
  const message = envelope(toBinary(HelloResponseSchema, hello));
  // Enough for Hello itself where the settings allow nothing.
  const window = attack.noWindow === true ? frame(type.windowUpdate, 0, stream, u32(4096)) : Buffer.alloc(0);
  return Buffer.concat([window, responseHeaders(stream), data(stream, message), trailers(stream)]);
}

rmSync(path, { force: true });
createServer((socket) => serve(socket.setMaxListeners(0), attack)).listen(path, () =>
  process.stdout.write("listening\n"),
);
// Whoever started this has gone.
process.stdin.on("end", () => process.exit(0)).resume();
