import { dirname, join, resolve } from "node:path";
import type { ChannelConfig, ControlConfig, DoctorSummary, HostAnchor, NodeConfig } from "@exai/api/host";
import type { BrokerConfig } from "../broker/config.ts";
import type { Firecracker } from "../doctor/firecracker.ts";
import { channelName, issueChannelCertificate } from "../enrol/certificates.ts";
import { readPrivateKey } from "../enrol/keys.ts";
import { releaseKeys } from "../enrol/releases.ts";
import type { EnrolledTenant } from "../enrol/tenants.ts";
import type { Home } from "../home/home.ts";
import { runPaths, uidOffsets } from "../home/paths.ts";
import type { ChildPlan } from "./child.ts";
import { agentArgv, type Service, serviceArgv } from "./service-argv.ts";
import { spoolQuotaBytes } from "./spools.ts";

export interface StackOptions {
  home: Home;
  host: HostAnchor;
  tenants: readonly EnrolledTenant[];
  imageStore: string;
  launcher: string;
  qemu: string;
  /** Absent: QEMU runs the microVMs. */
  firecracker?: Firecracker | undefined;
  accelerator: "kvm" | "tcg";
  tscKhz: number | undefined;
  production: boolean;
  capacity: { memoryMib: number; vms: number };
  /** What was found of this host before the start. */
  checked?: DoctorSummary;
}

const packages = resolve(import.meta.dirname, "../../..");
const mainOf = (name: string, ...path: string[]): string => join(packages, name, "src", ...path, "main.ts");

/** What a node agent is told of it. */
export type NodeOptions = Pick<StackOptions, "home" | "tenants" | "imageStore" | "launcher" | "qemu" | "firecracker">;

export function nodePlan(o: NodeOptions): ChildPlan {
  const config: NodeConfig = {
    vmsFolder: o.home.paths.vms,
    runFolder: runPaths(o.home.stack).run,
    imageStore: o.imageStore,
    launcher: o.launcher,
    qemu: o.qemu,
    ...(o.firecracker === undefined ? {} : { firecracker: o.firecracker.path }),
    vmUids: { first: o.home.uidBase + uidOffsets.firstVm, count: uidOffsets.rangeSize - uidOffsets.firstVm },
    broker: owner(o.home.uidBase + uidOffsets.broker),
    tenants: o.tenants.map((each) => ({ tenant: each.anchor.tenant, channel: owner(each.channelUid) })),
    stack: o.home.stack,
  };
  return plan(o, "node", agentArgv(o.launcher, mainOf("node")), async () => config);
}

export function brokerPlan(o: StackOptions): ChildPlan {
  const { home } = o;
  const run = runPaths(home.stack);
  const config: BrokerConfig = {
    host: o.host,
    hostKeyFile: home.paths.hostKey,
    journalFolder: home.paths.journal,
    spoolFolder: home.paths.spool,
    spoolQuotaBytes,
    imageStore: o.imageStore,
    releases: releaseKeys(home.paths.releases),
    controlSocket: run.controlSocket,
    tenants: o.tenants.map(({ anchor }) => ({
      anchor,
      nodeSocket: run.nodeSocket(anchor.tenant),
      adminSocket: run.adminSocket(anchor.tenant),
    })),
    vmm: o.firecracker === undefined ? "qemu" : "firecracker",
    accelerator: o.accelerator,
    ...(o.tscKhz === undefined ? {} : { tscKhz: o.tscKhz }),
    capacity: o.capacity,
    production: o.production,
    ...(o.checked === undefined ? {} : { checked: o.checked }),
    statusSocket: run.brokerSocket,
  };
  const tenants = o.tenants.map(({ anchor }) => anchor.tenant);
  const argv = service(o, {
    uid: home.uidBase + uidOffsets.broker,
    main: mainOf("host", "broker"),
    // The sockets that it calls, and no folder of a guest's.
    reads: [
      ...[o.imageStore, home.paths.host, dirname(run.controlSocket)],
      ...tenants.flatMap((tenant) => [dirname(run.nodeSocket(tenant)), run.adminFolder(tenant), run.monitor(tenant)]),
    ],
    writes: [home.paths.journal, run.broker, ...tenants.map((tenant) => join(home.paths.spool, tenant, "broker"))],
    network: false,
  });
  return plan(o, "broker", argv, async () => config);
}

export function controlPlan(o: StackOptions): ChildPlan {
  const { home } = o;
  const path = runPaths(home.stack).controlSocket;
  const config: ControlConfig = {
    database: { kind: "sqlite", file: home.paths.database },
    listen: { kind: "unix", path },
    tenants: o.tenants.map((each) => each.anchor),
    hosts: [o.host],
  };
  const argv = service(o, {
    uid: home.uidBase + uidOffsets.control,
    main: mainOf("control"),
    reads: [],
    writes: [home.paths.control, dirname(path)],
    network: false,
  });
  return plan(o, "control", argv, async () => config);
}

export function channelPlan(o: StackOptions, { anchor, channelUid }: EnrolledTenant): ChildPlan {
  const { home, host } = o;
  const run = runPaths(home.stack);
  const config = async (): Promise<ChannelConfig> => {
    const privatePkcs8 = readPrivateKey(home.paths.hostKey).export({ format: "der", type: "pkcs8" });
    const ca = { certificate: host.caCertificate, privatePkcs8 };
    const identity = await issueChannelCertificate(ca, channelName(anchor.tenant, host.host), Date.now());
    return {
      host: host.host,
      tenant: anchor,
      ...identity,
      runFolder: run.tenant(anchor.tenant),
      adminSocket: run.adminSocket(anchor.tenant),
      adminGid: home.uidBase + uidOffsets.broker,
      spoolFolder: join(home.paths.spool, anchor.tenant),
      spoolQuotaBytes,
      listen: { address: "127.0.0.1", port: 0 },
    };
  };
  const spool = join(home.paths.spool, anchor.tenant);
  const argv = service(o, {
    uid: channelUid,
    group: home.uidBase + uidOffsets.broker,
    main: mainOf("tenant", "channel"),
    reads: [spool],
    writes: [run.tenant(anchor.tenant), join(spool, "channel")],
    network: true,
  });
  return plan(o, `channel-${anchor.name}`, argv, config);
}

const service = (o: StackOptions, what: Omit<Service, "launcher" | "app">) =>
  serviceArgv({ launcher: o.launcher, app: runPaths(o.home.stack).app, ...what });

const owner = (id: number) => ({ uid: id, gid: id });

function plan(
  o: Pick<StackOptions, "home">,
  name: string,
  argv: ChildPlan["argv"],
  config: () => Promise<unknown>,
): ChildPlan {
  return { name, argv, config, logFile: join(o.home.paths.logs, `${name}.log`) };
}
