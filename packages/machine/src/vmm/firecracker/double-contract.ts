/** For FirecrackerDouble: what a request's body may hold, as the published contract says it. */
export interface Member {
  /** A list is of the texts that are taken; an object is a contract of its own. */
  readonly kind: "string" | "boolean" | readonly string[] | Contract;
  readonly required?: boolean;
  /** The first 1.x that knows it. */
  readonly sinceMinor?: number;
}

export type Contract = { readonly [name: string]: Member };

/** What a version 1.`minor` says of a body that it does not take; undefined when it takes it. */
export function faultOf(contract: Contract, text: string, minor: number): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return said("expected value at line 1 column 1");
  }
  const fault = unfit(contract, value, minor);
  return fault === undefined ? undefined : said(fault);
}

const said = (what: string): string => `An error occurred when deserializing the json body of a request: ${what}.`;

function unfit(contract: Contract, value: unknown, minor: number): string | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return "invalid type, expected a struct";
  const known = Object.entries(contract).filter(([, { sinceMinor = 0 }]) => minor >= sinceMinor);
  const names = known.map(([name]) => name);
  for (const name of Object.keys(value))
    if (!names.includes(name))
      return `unknown field \`${name}\`, expected one of ${names.map((each) => `\`${each}\``).join(", ")}`;
  const members = new Map(Object.entries(value));
  for (const [name, member] of known) {
    if (!members.has(name)) {
      if (member.required === true) return `missing field \`${name}\``;
      continue;
    }
    const fault = unfitMember(member, members.get(name), minor);
    if (fault !== undefined) return `${name}: ${fault}`;
  }
  return undefined;
}

function unfitMember({ kind }: Member, value: unknown, minor: number): string | undefined {
  if (typeof kind === "string")
    return typeof value === kind ? undefined : `invalid type: ${JSON.stringify(value)}, expected a ${kind}`;
  if (isList(kind))
    return typeof value === "string" && kind.includes(value) ? undefined : `unknown variant ${JSON.stringify(value)}`;
  return unfit(kind, value, minor);
}

const isList = (kind: readonly string[] | Contract): kind is readonly string[] => Array.isArray(kind);
