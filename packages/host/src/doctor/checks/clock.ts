import { type Check, ok, okIf, unknown } from "../check.ts";

const clocksource = "/sys/devices/system/clocksource/clocksource0";

/**
 * adjtimex(2) of x86_64 with a struct timex of zeros, which asks and changes nothing; 5 is TIME_ERROR. Perl is in every
 * Debian, and Node has no such call.
 */
const ask = ["-e", 'my $b = "\\0" x 208; print syscall(159, $b), "\\n"'] as const;

/** Who says by a file that it keeps the clock right. */
const keepers = {
  "/run/systemd/timesync/synchronized": "systemd-timesyncd",
  "/run/chrony/chronyd.pid": "chronyd",
  "/run/ntpd.pid": "ntpd",
} as const;

export const clockChecks: readonly Check[] = [
  {
    id: "clocksource",
    severity: { production: "warn" },
    reason:
      "guests take their time from the host's counter; with a slower clock source their clocks jump and cost exits",
    remedy: "boot without clocksource=, on a machine whose counter the kernel trusts (tsc, or kvm-clock in a VM)",
    command: `cat ${clocksource}/current_clocksource`,
    look(facts) {
      const current = facts.read(`${clocksource}/current_clocksource`) ?? "";
      if (!/^[a-z0-9_-]{1,40}$/.test(current)) return unknown("the kernel does not tell its clock source");
      return okIf(["tsc", "kvm-clock"].includes(current), current);
    },
  },
  {
    id: "time-sync",
    severity: { development: "warn", production: "fail" },
    reason: "intents, tokens and certificates hold for a time: on a wrong clock old ones hold again",
    remedy: "apt-get install chrony, or systemctl enable --now systemd-timesyncd",
    command: `perl ${ask[0]} '${ask[1]}'   # 0 to 4: synchronised, 5: not`,
    async look(facts) {
      const keeper = Object.entries(keepers).find(([path]) => facts.stat(path) !== undefined)?.[1];
      const by = keeper === undefined ? "" : ` (${keeper})`;
      const state = await facts.run("/usr/bin/perl", ask).catch(() => undefined);
      if (state !== undefined && /^[0-4]$/.test(state)) return ok(`the kernel's clock is synchronised${by}`);
      if (state === "5") return okIf(false, `nobody keeps the kernel's clock right${by}`);
      return unknown("the kernel could not be asked whether its clock is synchronised");
    },
  },
];
