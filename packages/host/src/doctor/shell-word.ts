/** A word as a shell reads it back, for commands that people paste. Nothing here is given to a shell by us. */
const shellWord = (text: string): string =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;

export const shellCommand = (...words: string[]): string => words.map(shellWord).join(" ");
