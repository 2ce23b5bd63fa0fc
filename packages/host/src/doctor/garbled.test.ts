import { doctorCheckIds } from "@exai/api/host";
import fc from "fast-check";
import { expect, it } from "vitest";
import { FakeHost, goodFiles, useChecks, vmmFiles } from "../testing/doctor-host.fixture.ts";

const look = useChecks();
const running = vmmFiles(100, 0x7000_0000 + 1000);
const paths = [...Object.keys(goodFiles), ...Object.keys(running.files), "/usr/bin/perl"].sort();

const garbled = ["\u0000\u001b[2J\u202e", "0x", "1 2 3", "\n\n:\n", "-1", "9".repeat(400), "�", "~"];

/** A host with a VMM, one of whose files (or programs) says something else. */
function hostWith(path: string, text: string): FakeHost {
  const host = new FakeHost({ files: running.files, links: running.links });
  (host.programs.has(path) ? host.programs : host.files).set(path, text);
  return host;
}

/** What does not hang on the one file: it is there whatever it holds, or something else says the same. */
const anyText: ReadonlySet<string> = new Set([
  "mke2fs /usr/sbin/mke2fs",
  "bpf-btf /sys/kernel/btf/vmlinux",
  // Loaded or not; the other file and the kernel's modules tell, too.
  "device-mapper /sys/module/dm_crypt/refcnt",
  "memory-ecc /sys/devices/system/edac/mc/mc0/mc_name",
  "hwrng /proc/cpuinfo",
]);

it.each(doctorCheckIds)("%s is not ok when one of its files is garbled", async (id) => {
  for (const path of paths) {
    const host = hostWith(path, goodFiles[path] ?? "");
    await look(id, host);
    if (!host.asked.has(path) || anyText.has(`${id} ${path}`)) continue;
    for (const text of garbled) {
      expect([path, text, (await look(id, hostWith(path, text))).status]).not.toEqual([path, text, "ok"]);
    }
  }
});

it("no text that a file holds makes a check fail to answer, or more than one plain line of what it found", async () => {
  const change = fc.tuple(fc.constantFrom(...paths), fc.string({ unit: "binary", maxLength: 200 }));
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...doctorCheckIds), fc.array(change, { maxLength: 8 }), async (id, changes) => {
      const files = { ...running.files, ...Object.fromEntries(changes) };
      const host = new FakeHost({ files, links: running.links, programs: { "/usr/bin/perl": changes[0]?.[1] } });
      const { found } = await look(id, host);
      expect(found).toMatch(/^[^\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]{1,500}$/u);
    }),
    { numRuns: 2000 },
  );
});
