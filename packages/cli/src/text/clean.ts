// What comes from a guest or the control plane must not move a person's cursor or change colours.
// biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the point
const unprintable = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** What `JSON.stringify` leaves as it is. */
const unprintableInJson = /[\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** JSON whose texts can't do it either; a program reads the same from it. */
export const cleanJson = (value: unknown, indent = 0): string =>
  JSON.stringify(value, undefined, indent).replace(
    unprintableInJson,
    (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );

/** A guest's console for a person's terminal: its lines, without the power to move the cursor or ask the terminal things. */
export const cleanLines = (text: string): string =>
  text
    .split(/(\r?\n|\t)/)
    .map((each, at) => (at % 2 === 1 ? each : clean(each)))
    .join("");

/** Control characters and changes of writing direction as `\xNN` or `\uNNNN`. */
export const clean = (text: string): string =>
  text.replace(unprintable, (character) => {
    const code = character.charCodeAt(0);
    return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
