/**
 * Every device of the machine in order, the vCPUs and chips, and guest time: as one blob. Parsing
 * it touches nothing; what has been parsed can be applied without failing.
 */
import { crc32 } from 'node:zlib';
import { asVmError, assert, VmError } from '../base/errors.js';
import { printable } from '../base/printable.js';
import type { StateBlob, VmAccel } from '../accel/contract.js';
import type { Clock } from '../host/ports.js';
import { blob, counted, record, since, text, u32, u64 } from '../fields/field.js';
import { Reader } from '../fields/bytes.js';
import { vmstate } from '../fields/vmstate.js';
import { type Device, MAX_FAILURE } from './device.js';

const MAGIC = 0x434f4c4f; // "COLO"
const FORMAT = 2;
const MAX_SECTION = 16 << 20;
const MAX_SECTIONS = 256;
const CPU_VERSION = 1;

/**
 * failure: why the device is broken; empty: it is not. In UTF-8 a character takes up to three
 * bytes.
 */
const section = record({
  id: text(128),
  vmstate: text(64),
  version: u32,
  crc: u32,
  data: blob(MAX_SECTION),
  failure: since(2, text(3 * MAX_FAILURE)),
});
const head = record({ magic: u32.is(MAGIC), format: u32.range(1, FORMAT) });
const layout = record({ ...head.fields, sections: counted(section, MAX_SECTIONS) });
/**
 * Chips take times below 2^62 ns (146 years); from a load on there must be room for the guest's own
 * run, or no later state of this VM could be taken anywhere.
 */
const MAX_CLOCK_NS = 2n ** 62n - 2n ** 50n;
const clockState = vmstate('guest-clock', 1, { ns: u64.below(MAX_CLOCK_NS) });

export interface SectionName {
  id: string;
  vmstate: string;
  version: number;
}

/**
 * What a section is saved from and goes back to. stage: throws a VmError or returns what cannot
 * fail.
 */
interface Part extends SectionName {
  save(): Buffer;
  /** After save: why the device is broken. */
  failure?(): string | undefined;
  stage(data: Buffer, version: number, failure: string): () => void;
}

type Accel = Pick<VmAccel, 'cpus' | 'chips' | 'guestNs' | 'continueClock'>;

export class DeviceSet {
  private readonly devices: Device[] = [];
  private readonly stopping = new Set<string>();

  constructor(
    private readonly accel: Accel,
    private readonly clock: Clock,
    /** A device broke, by an exception of its own; the others run on. */
    private readonly onBroken: (id: string, why: string, thrown: unknown) => void,
  ) {}

  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  add<D extends Device<any>>(device: D): D {
    assert(!this.devices.some(d => d.id === device.id), `device id ${device.id} is free`);
    this.devices.push(device);
    device.onBroken = (why, thrown) => this.onBroken(device.id, why, thrown);
    return device;
  }

  get all(): readonly Device[] {
    return this.devices;
  }

  find(id: string): Device | undefined {
    return this.devices.find(d => d.id === id);
  }

  reset(): void {
    for (const device of this.devices) device.contain(() => device.reset(), undefined);
  }

  /** Resolves when nothing of any device runs. */
  async pause(): Promise<void> {
    await Promise.all(
      this.devices.map(async device => {
        this.stopping.add(device.id);
        try {
          await device.pause();
        } catch (error) {
          device.broke(error);
        }
        this.stopping.delete(device.id);
      }),
    );
  }

  /** Devices whose pause has not resolved yet. */
  get notStopped(): readonly string[] {
    return [...this.stopping];
  }

  resume(): void {
    for (const device of this.devices) device.contain(() => device.resume(), undefined);
  }

  sections(): SectionName[] {
    return this.parts().map(({ id, vmstate, version }) => ({ id, vmstate, version }));
  }

  /** Stopped only. */
  save(): Buffer {
    const sections = this.parts().map(({ id, vmstate, version, save, failure }) => {
      const data = save();
      return { id, vmstate, version, crc: crc32(data), data, failure: failure?.() ?? '' };
    });
    return layout.encode({ magic: MAGIC, format: FORMAT, sections });
  }

  /**
   * Untrusted bytes. Sections must be exactly ours, in our order: the manifest has been compared
   * before.
   */
  parse(data: Uint8Array): { apply(): void } {
    const arrivedMs = this.clock.nowMs();
    const { sections } = decode(data);
    let savedNs = 0n;
    const parts = this.parts(ns => (savedNs = ns));
    const staged = sections.map((s, i) => {
      const part = parts[i];
      if (!part)
        throw new VmError(`device state: section '${printable(s.id)}' is not of this machine`);
      return stage(part, s);
    });
    const missing = parts[sections.length];
    if (missing) throw new VmError(`device state: section '${missing.id}' is missing`);
    return {
      apply: () => {
        for (const load of staged) load();
        // Deadlines are set against the time of the save; since the blob was here, the guest's time
        // has gone on.
        this.accel.continueClock(
          savedNs + BigInt(Math.round((this.clock.nowMs() - arrivedMs) * 1e6)),
        );
      },
    };
  }

  /**
   * The clock first: chips turn what is left of a timer into a deadline when they are loaded. Then
   * devices: recomputing their lines disturbs chips, which are loaded afterwards with the levels of
   * the same moment.
   */
  private parts(onClock: (ns: bigint) => void = () => undefined): Part[] {
    const { chips, cpus } = this.accel;
    return [
      this.clockPart(onClock),
      ...this.devices.map(devicePart),
      blobPart('chips', 'irqchip', chips),
      ...cpus.map((cpu, i) => blobPart(`cpu${i}`, 'vcpu', cpu)),
    ];
  }

  private clockPart(onClock: (ns: bigint) => void): Part {
    return {
      id: 'clock',
      vmstate: clockState.name,
      version: clockState.version,
      save: () => clockState.save({ ns: this.accel.guestNs() }),
      stage: (data, version) => {
        const { ns } = clockState.parse(data, version);
        onClock(ns);
        return () => this.accel.continueClock(ns);
      },
    };
  }
}

function decode(data: Uint8Array): ReturnType<typeof layout.decode> {
  try {
    const { format } = head.read(new Reader(data), 0);
    return layout.decode(data, format);
  } catch (error) {
    throw asVmError(error).during('device state');
  }
}

function stage(part: Part, s: ReturnType<typeof section.reset>): () => void {
  try {
    if (s.id !== part.id) throw new VmError(`section '${printable(s.id)}' stands in its place`);
    if (s.vmstate !== part.vmstate)
      throw new VmError(`state of a '${printable(s.vmstate)}' where '${part.vmstate}' is wanted`);
    if (crc32(s.data) !== s.crc) throw new VmError('checksum does not match');
    return part.stage(s.data, s.version, s.failure);
  } catch (error) {
    throw asVmError(error).during(`device state: ${part.id}`);
  }
}

function devicePart(device: Device): Part {
  const { vmstate } = device;
  return {
    id: device.id,
    vmstate: vmstate.name,
    version: vmstate.version,
    save: () => savedState(device),
    failure: () => device.failure,
    stage(data, version, failure) {
      const state = vmstate.parse(data, version);
      return () => {
        device.state = state;
        device.setFailure(failure === '' ? undefined : printable(failure, MAX_FAILURE));
        device.contain(() => device.afterLoad(), undefined);
      };
    },
  };
}

/** A state that cannot be put into words is that of a broken device, as after a reset. */
function savedState(device: Device): Buffer {
  const saved = device.contain(() => {
    device.beforeSave();
    return device.vmstate.save(device.state);
  }, undefined);
  if (saved) return saved;
  device.state = device.vmstate.reset();
  device.setFailure(device.failure);
  device.contain(() => device.afterLoad(), undefined);
  return device.vmstate.save(device.state);
}

function blobPart(id: string, vmstate: string, target: StateBlob): Part {
  return {
    id,
    vmstate,
    version: CPU_VERSION,
    save: () => target.save(),
    stage(data, version) {
      if (version !== CPU_VERSION) throw new VmError(`version ${version}, ours is ${CPU_VERSION}`);
      const wrong = target.check(data);
      if (wrong !== undefined) throw new VmError(wrong);
      return () => target.load(data);
    },
  };
}
