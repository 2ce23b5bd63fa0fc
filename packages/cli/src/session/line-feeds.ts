const lineFeed = 0x0a;
const carriageReturn = 0x0d;
/** IND (ECMA-48, fourth edition): one line down in the same column. */
const index = Buffer.from("\x1bD");

/**
 * Node's raw mode leaves the terminal's own translation of LF to CR LF on (libuv sets ONLCR), and there is no way to switch
 * it off. A full-screen program sends a bare LF to go down in its column, so a bare LF becomes IND; one after a CR stays.
 */
export class LineFeeds {
  #last = 0;

  translate(data: Uint8Array): Uint8Array {
    const parts: Uint8Array[] = [];
    let from = 0;
    for (let at = data.indexOf(lineFeed); at >= 0; at = data.indexOf(lineFeed, at + 1)) {
      const before = at === 0 ? this.#last : data[at - 1];
      if (before === carriageReturn) continue;
      parts.push(data.subarray(from, at), index);
      from = at + 1;
    }
    this.#last = data.at(-1) ?? this.#last;
    return parts.length === 0 ? data : Buffer.concat([...parts, data.subarray(from)]);
  }
}
