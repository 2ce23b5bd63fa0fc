const longest = 200;

/** A VMM's words may be a guest's: one line, without what moves a terminal's cursor, and not many. */
export const printable = (text: string): string =>
  text
    .slice(0, longest)
    .replaceAll(/[^\x20-\x7e]+/g, " ")
    .trim();
