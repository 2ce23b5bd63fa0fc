/**
 * How an unprivileged process of ours is started: own uid, no capabilities, no way to gain any (prctl(2)
 * PR_SET_NO_NEW_PRIVS), no other group but the given one.
 */
export function serviceArgv(
  _launcher: string,
  uid: number,
  main: string,
  nodeFlags: readonly string[],
  extraGid?: number,
): readonly [string, ...string[]] {
  const groups = extraGid === undefined ? "--clear-groups" : `--groups=${extraGid}`;
  return [
    "/usr/bin/setpriv",
    `--reuid=${uid}`,
    `--regid=${uid}`,
    groups,
    "--no-new-privs",
    "--bounding-set=-all",
    "--inh-caps=-all",
    "--",
    process.execPath,
    ...nodeFlags,
    main,
  ];
}
