/**
 * The first message of a migration: what the sender's machine is. JSON with limits; the receiver
 * compares and says what differs.
 */
import { VmError } from '../base/errors.js';
import type { PairRecord } from '../block/record/pair-record.js';
import { printable } from '../base/printable.js';
import type { Manifest, SeatedAt } from './contract.js';
import { decodePeerRecord } from './standing.js';

/** Bytes of an encoded hello, at most. */
export const HELLO_BYTES_MAX = 256 * 1024;
const LEASE_MS_MAX = 60_000;
const ARBITER_CHARACTERS_MAX = 4096;

export interface Hello {
  manifest: Manifest;
  /** The receiver is to become the secondary; otherwise the guest moves to it. */
  colo: boolean;
  /** How long after a proof of life the primary may release output (see colo/README.md). */
  leaseMs: number;
  /** COLO: what the primary's images know of the pair. */
  record?: PairRecord;
  /** COLO: the user's word, whose disks are kept when they differ. */
  syncFrom?: SyncFrom;
  /** COLO: the sender can pack the pages of checkpoints, for a receiver that says it takes them. */
  packs?: boolean;
}

export const syncSides = ['primary', 'secondary'] as const;
export type SyncFrom = (typeof syncSides)[number];

export const encodeHello = (hello: Hello) => Buffer.from(JSON.stringify(hello), 'utf8');

/** Untrusted bytes to a value of the right shape. */
export function decodeHello(body: Uint8Array): Hello {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(body).toString('utf8'));
  } catch (error) {
    throw new VmError('the manifest is not JSON', { cause: error });
  }
  const top = fieldsOf(value, 'hello');
  const leaseMs = count(top.leaseMs, 'leaseMs');
  if (leaseMs > LEASE_MS_MAX) throw new VmError(`leaseMs ${leaseMs} is more than ${LEASE_MS_MAX}`);
  if (typeof top.colo !== 'boolean') throw new VmError('hello: colo is not a boolean');
  const record = decodePeerRecord(top.record);
  const syncFrom = syncSides.find(side => side === top.syncFrom);
  if (top.syncFrom !== undefined && !syncFrom) throw new VmError('hello: syncFrom is not a side');
  const packs = top.packs === true;
  const known = {
    ...(record && { record }),
    ...(syncFrom && { syncFrom }),
    ...(packs && { packs }),
  };
  return { leaseMs, colo: top.colo, manifest: decodeManifest(top.manifest), ...known };
}

function decodeManifest(value: unknown): Manifest {
  const m = fieldsOf(value, 'manifest');
  return {
    ...(m.machineType !== undefined && { machineType: word(m.machineType, 'machineType') }),
    ramBytes: count(m.ramBytes, 'ramBytes'),
    ...(m.romBytes !== undefined && { romBytes: count(m.romBytes, 'romBytes') }),
    ...(m.videoBytes !== undefined && { videoBytes: count(m.videoBytes, 'videoBytes') }),
    cpus: count(m.cpus, 'cpus'),
    cpu: decodeCpu(fieldsOf(m.cpu, 'manifest: cpu')),
    accel: word(m.accel, 'accel'),
    devices: items(m.devices, 'devices').map(d => ({
      id: word(d.id, 'id'),
      vmstate: word(d.vmstate, 'vmstate'),
      version: count(d.version, 'version'),
    })),
    disks: items(m.disks, 'disks').map(decodeDisk),
    netdevs: list(m.netdevs, 'netdevs').map(n => word(n, 'netdevs')),
    ...(m.seat !== undefined && { seat: decodeSeat(fieldsOf(m.seat, 'manifest: seat')) }),
  };
}

function decodeSeat({ arbiter, place, node, peer }: Record<string, unknown>): SeatedAt {
  return {
    arbiter: word(arbiter, 'seat.arbiter', ARBITER_CHARACTERS_MAX),
    ...(place !== undefined && { place: word(place, 'seat.place') }),
    node: word(node, 'seat.node'),
    peer: word(peer, 'seat.peer'),
  };
}

function decodeDisk({
  id,
  length,
  readOnly = false,
}: Record<string, unknown>): Manifest['disks'][number] {
  if (typeof readOnly !== 'boolean') throw new VmError('manifest: readOnly is not a boolean');
  return { id: word(id, 'id'), length: count(length, 'length'), ...(readOnly && { readOnly }) };
}

function decodeCpu(c: Record<string, unknown>): Manifest['cpu'] {
  return {
    model: word(c.model, 'cpu.model'),
    vendor: word(c.vendor, 'cpu.vendor'),
    signature: count(c.signature, 'cpu.signature'),
    features: list(c.features, 'cpu.features').map(f => word(f, 'cpu.features')),
    sockets: count(c.sockets, 'cpu.sockets'),
    cores: count(c.cores, 'cpu.cores'),
    threads: count(c.threads, 'cpu.threads'),
  };
}

function fieldsOf(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new VmError(`${name} is not an object`);
  return value as Record<string, unknown>;
}
function list(value: unknown, name: string): unknown[] {
  if (!Array.isArray(value)) throw new VmError(`manifest: ${name} is not a list`);
  if (value.length > 1024) throw new VmError(`manifest: ${name} has ${value.length} entries`);
  return value;
}
const items = (value: unknown, name: string) => list(value, name).map(item => fieldsOf(item, name));
function count(value: unknown, name: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0)
    throw new VmError(`manifest: ${name} is not a count`);
  return value;
}
function word(value: unknown, name: string, charactersMax = 256): string {
  if (typeof value !== 'string' || value !== printable(value, charactersMax))
    throw new VmError(`manifest: ${name} is not a short text`);
  return value;
}

/**
 * The first difference as a sentence, or undefined. `theirs` is the sender's, `ours` the
 * receiver's.
 */
export function manifestDifference(
  theirs: Manifest,
  ours: Manifest,
  sender: 'primary' | 'source' = 'primary',
): string | undefined {
  const here = sender === 'primary' ? 'this secondary' : 'this machine';
  if (theirs.machineType !== undefined && theirs.machineType !== ours.machineType)
    return (
      `the ${sender} is a ${theirs.machineType}, ${here} a ${ours.machineType}: give both sides ` +
      'the same -machine'
    );
  if (theirs.ramBytes !== ours.ramBytes)
    return `the ${sender} has ${mib(theirs.ramBytes)} of RAM, ${here} ${mib(ours.ramBytes)}`;
  const [theirRom, ourRom] = [theirs.romBytes ?? 0, ours.romBytes ?? 0];
  if (theirRom !== ourRom)
    return `the ${sender} has ${mib(theirRom)} of ROM, ${here} ${mib(ourRom)}`;
  const card = ({ videoBytes: bytes = 0 }: Manifest) =>
    bytes === 0 ? 'no graphics card' : `a graphics card with ${mib(bytes)}`;
  if (card(theirs) !== card(ours))
    return (
      `the ${sender} has ${card(theirs)}, ${here} ${card(ours)}: give both sides the same -vga ` +
      'and -vnc'
    );
  if (theirs.cpus !== ours.cpus)
    return `the ${sender} has ${theirs.cpus} CPUs, ${here} ${ours.cpus}`;
  return (
    cpuDifference(theirs.cpu, ours.cpu, sender, here) ??
    deviceDifference(theirs, ours, sender) ??
    diskDifference(theirs, ours, sender) ??
    netdevDifference(theirs, ours, sender) ??
    (sender === 'primary' ? seatDifference(theirs.seat, ours.seat) : undefined)
  );
}

const mib = (bytes: number) =>
  bytes % 1048576 === 0 ? `${bytes / 1048576} MiB` : `${bytes} bytes`;

/** A guest reads CPUID once, so it must find the same processor on the other side. */
function cpuDifference(
  theirs: Manifest['cpu'],
  ours: Manifest['cpu'],
  sender: string,
  here: string,
): string | undefined {
  const advice = 'give both sides the same -cpu';
  const lost = theirs.features.find(name => !ours.features.includes(name));
  if (lost !== undefined)
    return (
      `the ${sender}'s CPU (${theirs.model}) has ${lost}, ${here}'s (${ours.model}) does not: ` +
      `${advice}`
    );
  const extra = ours.features.find(name => !theirs.features.includes(name));
  if (extra !== undefined)
    return (
      `${here}'s CPU (${ours.model}) has ${extra}, the ${sender}'s (${theirs.model}) does not: ` +
      `${advice}`
    );
  const kind = (c: Manifest['cpu']) => `${c.model}, ${c.vendor} 0x${c.signature.toString(16)}`;
  if (theirs.vendor !== ours.vendor || theirs.signature !== ours.signature)
    return `the ${sender}'s CPU is ${kind(theirs)}, ${here}'s ${kind(ours)}: ${advice}`;
  const shape = (c: Manifest['cpu']) =>
    `sockets=${c.sockets},cores=${c.cores},threads=${c.threads}`;
  return shape(theirs) === shape(ours)
    ? undefined
    : `the ${sender} has -smp ${shape(theirs)}, ${here} ${shape(ours)}`;
}

function deviceDifference(theirs: Manifest, ours: Manifest, sender: string): string | undefined {
  const here = new Map(ours.devices.map(d => [d.id, d]));
  for (const device of theirs.devices) {
    const own = here.get(device.id);
    if (!own) return `device '${device.id}' (${device.vmstate}) of the ${sender} is missing here`;
    if (own.vmstate !== device.vmstate)
      return (
        `device '${device.id}' is '${device.vmstate}' on the ${sender} and '${own.vmstate}' ` +
        'here'
      );
    if (own.version !== device.version)
      return (
        `device '${device.id}' has state version ${device.version} on the ${sender} and ` +
        `${own.version} here`
      );
    here.delete(device.id);
  }
  for (const device of here.values())
    return `device '${device.id}' (${device.vmstate}) is missing on the ${sender}`;
  const at = theirs.devices.findIndex((d, i) => d.id !== ours.devices[i].id);
  return at < 0
    ? undefined
    : `the devices stand in another order: number ${at} is '${theirs.devices[at].id}' on the ` +
        `${sender} and '${ours.devices[at].id}' here`;
}

function diskDifference(theirs: Manifest, ours: Manifest, sender: string): string | undefined {
  const here = new Map(ours.disks.map(d => [d.id, d]));
  const kind = (readOnly = false) => (readOnly ? 'read-only' : 'writable');
  for (const { id, length, readOnly } of theirs.disks) {
    const own = here.get(id);
    if (own === undefined)
      return (
        `disk '${id}' of the ${sender} ` +
        `${sender === 'primary' ? 'is not replicated' : 'is missing'} here`
      );
    if (own.length !== length && length * own.length === 0)
      return `drive '${id}' ${holding(length)} on the ${sender} and ${holding(own.length)} here`;
    if (own.length !== length)
      return `disk '${id}' has ${length} bytes on the ${sender} and ${own.length} here`;
    if (kind(own.readOnly) !== kind(readOnly)) {
      return `disk '${id}' is ${kind(readOnly)} on the ${sender} and ${kind(own.readOnly)} here`;
    }
    here.delete(id);
  }
  for (const id of here.keys()) return `disk '${id}' is missing on the ${sender}`;
  return undefined;
}

const holding = (length: number) => (length === 0 ? 'is empty' : `holds ${length} bytes`);

function netdevDifference(theirs: Manifest, ours: Manifest, sender: string): string | undefined {
  const missing = theirs.netdevs.find(id => !ours.netdevs.includes(id));
  if (missing !== undefined) return `netdev '${missing}' of the ${sender} is missing here`;
  const extra = ours.netdevs.find(id => !theirs.netdevs.includes(id));
  return extra === undefined ? undefined : `netdev '${extra}' is missing on the ${sender}`;
}

function areOne(theirs: SeatedAt, ours: SeatedAt): boolean {
  const known = theirs.place !== undefined && ours.place !== undefined;
  return known ? theirs.place === ours.place : theirs.arbiter === ours.arbiter;
}

/** Of two that decide each by another arbiter both would go on. */
function seatDifference(theirs?: SeatedAt, ours?: SeatedAt): string | undefined {
  if (!theirs && !ours) return undefined;
  if (!theirs || !ours || !areOne(theirs, ours)) {
    const its = (seat?: SeatedAt) => {
      if (!seat) return 'none';
      const away = seat.place === undefined && (theirs?.place ?? ours?.place) !== undefined;
      return `the arbiter '${seat.arbiter}'${away ? ', which is away' : ''}`;
    };
    return `the primary has ${its(theirs)}, this secondary ${its(ours)}: give both the same`;
  }
  if (theirs.node === ours.node)
    return `both sides call themselves '${ours.node}' at the arbiter: one is the other side`;
  return theirs.node === ours.peer && theirs.peer === ours.node
    ? undefined
    : `at the arbiter the primary is '${theirs.node}' and expects '${theirs.peer}', this ` +
        `secondary is '${ours.node}' and expects '${ours.peer}'`;
}
