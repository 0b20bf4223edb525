/** A launch that the options fill, one after the other. */
import { VmError } from '../../base/errors.js';
import type { CharSpec } from '../../chardev/contract.js';
import { MACHINE_TYPE, type MachineSpec } from '../../machine/spec.js';
import { readChannel } from '../../vm/objects/chardevs.js';
import type { ProcessOptions } from '../vm/process.js';
import type { GivenOption } from './argv.js';
import { Ids } from './ids.js';

export type Role = 'primary' | 'secondary';

/** `-global DRIVER.PROPERTY=VALUE`. */
export interface GlobalProperty {
  readonly driver: string;
  readonly property: string;
  readonly value: string;
  /** As it was written. */
  readonly spelled: string;
}

const DEFAULT_RAM_BYTES = 128 << 20;
const MAX_SERIALS = 4;

export class Draft {
  readonly spec: MachineSpec;
  readonly traces: string[] = [];
  name: string | undefined;
  readonly process: { -readonly [K in keyof ProcessOptions]: ProcessOptions[K] } = {
    daemonize: false,
    pidfile: undefined,
    logfile: undefined,
    timestamps: false,
  };
  snapshot = false;
  /** -vga */
  vga: 'std' | 'none' | undefined;
  /** There is a USB controller. */
  usb = false;
  globals: readonly GlobalProperty[] = [];
  readonly ids = new Ids();
  /** The option that uses standard input. */
  stdioUser: string | undefined;
  /** Names of the options so far. */
  readonly given = new Set<string>();

  constructor(readonly role: Role) {
    this.spec = {
      name: role,
      role,
      machineType: MACHINE_TYPE,
      ramBytes: DEFAULT_RAM_BYTES,
      cpus: 1,
      accel: 'auto',
      append: '',
      blockdevs: [],
      drives: [],
      netdevs: [],
      devices: [],
      objects: [],
      chardevs: [],
      serials: [],
      monitors: [],
      startPaused: false,
      noShutdown: false,
      noReboot: false,
    };
  }

  addChardev(id: string, backend: CharSpec, option: GivenOption): void {
    if ((backend.kind === 'mux' ? backend.base : backend).kind === 'stdio') {
      if (this.stdioUser !== undefined)
        throw new VmError(`standard input is taken by ${this.stdioUser}`);
      this.stdioUser = option.spelled;
    }
    this.spec.chardevs.push({ id: this.ids.claim('chardev', id), backend });
  }

  addSerial(value: string, option: GivenOption): void {
    if (this.spec.serials.length >= MAX_SERIALS)
      throw new VmError(`there are at most ${MAX_SERIALS} serial ports`);
    const id = value.startsWith('mon:')
      ? this.withMonitor(value.slice('mon:'.length), option)
      : this.channel(value, 'serial', 'characters', option);
    if (id !== undefined) this.spec.serials.push(id);
  }

  addMonitor(mode: 'qmp' | 'hmp', value: string, option: GivenOption): void {
    const id = this.channel(
      value,
      mode === 'qmp' ? 'qmp' : 'monitor',
      mode === 'qmp' ? 'lines' : 'keys',
      option,
    );
    if (id !== undefined) this.spec.monitors.push({ mode, chardev: id });
  }

  /** The id of its chardev. */
  addDebugcon(value: string, option: GivenOption): string | undefined {
    return this.channel(value, 'debugcon', 'characters', option);
  }

  /** `chardev:ID` names one; anything else makes one. undefined: `none`. */
  private channel(
    value: string,
    prefix: string,
    input: 'lines' | 'characters' | 'keys',
    option: GivenOption,
  ): string | undefined {
    if (value === 'none') return undefined;
    if (value.startsWith('chardev:')) return value.slice('chardev:'.length);
    const id = this.ids.fresh(prefix);
    this.addChardev(id, readChannel(value, input), option);
    return id;
  }

  /** `mon:stdio`: a monitor beside the guest's console, Ctrl-A c between them. */
  private withMonitor(value: string, option: GivenOption): string {
    const id = this.ids.fresh('mux');
    this.addChardev(id, { kind: 'mux', base: readChannel(value, 'keys') }, option);
    this.spec.monitors.push({ mode: 'hmp', chardev: id });
    return id;
  }
}
