/** `CONFIG_X=value` and `# CONFIG_X is not set` of a kernel configuration; what is not set is "n". */
export function parseKconfig(text: string): Map<string, string> {
  const options = new Map<string, string>();
  for (const line of text.split("\n")) {
    const set = /^CONFIG_(\w+)=(.*)$/.exec(line);
    if (set?.[1] !== undefined) options.set(set[1], set[2] ?? "");
    const unset = /^# CONFIG_(\w+) is not set$/.exec(line);
    if (unset?.[1] !== undefined) options.set(unset[1], "n");
  }
  return options;
}

/**
 * What `fragment` asks for and `config` does not have. Kconfig drops an option whose dependencies are not met without a
 * word; a hardening option that silently is off would be worse than none.
 */
export function missingOptions(fragment: string, config: string): string[] {
  const actual = parseKconfig(config);
  return [...parseKconfig(fragment)]
    .filter(([name, value]) => (actual.get(name) ?? "n") !== value)
    .map(([name, value]) => `CONFIG_${name}=${value}`);
}
