import { join } from "node:path";
import { firecrackerConfig } from "@exai/api/host";
import { planFirecracker } from "@exai/machine";
import { bootFilesOf } from "@exai/machine/image";
import { outputBytes } from "@exai/node";
import { bad, type Check, ok, okIf } from "../check.ts";
import type { DoctorContext } from "../context.ts";
import type { HostFacts } from "../facts.ts";
import { shellCommand } from "../shell-word.ts";

/** What a guest boots, and how much of what it says is kept. */
export const guestChecks = ({ home, images, imageStore }: DoctorContext): Check[] => [
  {
    id: "guest-kernel",
    severity: { production: "fail" },
    reason: "production boots a kernel of ours that an enrolled release key signed, and no distribution's",
    remedy: "run 'make build', which builds it; an image's other kernel is for development",
    command: `cat ${shellCommand(join(imageStore, "index.json"))} ${shellCommand(join(imageStore, "manifests"))}/*.json`,
    look() {
      const ours = images.filter(({ manifest }) => manifest?.kernelFlavor === "exai");
      const others = images.filter((image) => !ours.includes(image)).map(({ name }) => name);
      if (ours.length === 0) return bad("no image with our kernel that an enrolled release key signed");
      const kernels = new Set(ours.map(({ manifest }) => manifest?.kernel.sha256));
      const rest = others.length === 0 ? "" : `; not for production: ${others.join(", ")}`;
      return ok(
        `${ours.map(({ name }) => name).join(", ")} with our kernel, SHA-256 ${[...kernels].join(", ")}${rest}`,
      );
    },
  },
  {
    id: "serial-console",
    severity: { production: "fail" },
    reason: "a guest can write to its serial port without end, and the host must not keep all of it",
    remedy: "this is a fault of exai's launcher: report it, with the sizes that the command shows",
    command: `find /run/exai -name 'console.log*' -size +${outputBytes.console >> 10}k -ls`,
    look(facts) {
      const more = consoles(facts).filter((path) => isOver(facts, path, outputBytes.console));
      if (more.length > 0) return bad(`${more.length} consoles are longer than ${outputBytes.console} bytes`);
      return ok(`${serialPorts(images)}, of which at most ${outputBytes.console} bytes are kept`);
    },
  },
  {
    id: "vmm-logs",
    severity: { production: "fail" },
    reason: "what a guest makes its VMM log must not fill the host's disk",
    remedy: "this is a fault of exai's launcher: report it, with the sizes that the command shows",
    command: `find ${shellCommand(join(home, "vms"))} ${vmmLogs.map((name) => `-name '${name}*'`).join(" -o ")} | xargs -r ls -l`,
    look(facts) {
      const folder = join(home, "vms");
      const vms = (facts.list(folder) ?? []).slice(0, most).map((name) => join(folder, name));
      const logs = vms.flatMap((vm) => vmmLogs.map((name) => join(vm, name)));
      const more = logs.filter((path) => isOver(facts, path, outputBytes.vmm));
      const found = `of each VMM's log and metrics at most ${outputBytes.vmm} bytes are kept`;
      return okIf(more.length === 0, more.length === 0 ? found : `${more.length} logs of VMMs are longer than that`);
    },
  },
];

const vmmLogs = ["vmm.log", "firecracker.log", "metrics.json"];

/** Of each kind of folder: what a broken-in channel puts there must not keep us for ever. */
const most = 10_000;

/** /run/exai/<stack>/t/<tenant>/vm/<workspace>/console.log */
function consoles(facts: HostFacts): string[] {
  const below = (folders: string[], ...then: string[]): string[] =>
    folders.flatMap((folder) => (facts.list(folder) ?? []).slice(0, most).map((name) => join(folder, name, ...then)));
  const vms = below(below(below(["/run/exai"], "t"), "vm"));
  return vms.map((vm) => join(vm, "console.log"));
}

/** A file and its older half have one bound together. */
const isOver = (facts: HostFacts, path: string, bytes: number): boolean =>
  [path, `${path}.1`].reduce((sum, each) => sum + (facts.stat(each)?.sizeBytes ?? 0), 0) > bytes;

/** As Firecracker is told for these images. */
function serialPorts(images: DoctorContext["images"]): string {
  const words = images.flatMap(({ manifest }) => {
    if (manifest === undefined) return [];
    const { config = "" } = planFirecracker(bootFilesOf(manifest), { cpus: 1, memoryMib: 128 });
    return firecrackerConfig.parse(JSON.parse(config))["boot-source"].boot_args.split(" ");
  });
  const off = words.includes("8250.nr_uarts=0");
  return off ? "guests are told to use no serial port (8250.nr_uarts=0)" : "a guest has one serial port, its console";
}
