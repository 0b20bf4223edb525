/**
 * The simulated host as a VM sees it: clock, files, network, taps, chance and processors, all in
 * virtual time and by a seed. The simulation and unit tests build whole VMs on it.
 */
import type { Accelerators } from '../../../src/accel/accelerators.js';
import { VmError } from '../../../src/base/errors.js';
import type { Stdio } from '../../../src/chardev/contract.js';
import type { StepHook } from '../../../src/colo/steps.js';
import type { Entropy, Http, Programs, Shell, Sockets } from '../../../src/host/ports.js';
import { defaultLimits, type VmHost, type VmLimits } from '../../../src/vm/host.js';
import { Random } from '../random.js';
import { SimAccel, simAccelerators } from './accel.js';
import type { SimClock } from './clock.js';
import type { SimFiles } from './files.js';
import { SimFolders } from './folders.js';
import { SimNetwork } from './network.js';
import { SimNode } from './node.js';
import { SimTaps } from './taps.js';
import { World } from './world.js';

/** Nobody is at a terminal. */
export const noTerminal: Stdio = {
  terminal: undefined,
  setMode: () => undefined,
  interrupt: () => undefined,
  write: () => true,
  onDrain: () => undefined,
  onData: () => undefined,
  onEnd: () => undefined,
  pause: () => undefined,
  resume: () => undefined,
};

export interface SimHostOptions {
  readonly sockets?: Sockets;
  readonly accelerators?: Accelerators;
  readonly limits?: VmLimits;
  readonly step?: StepHook;
  readonly openArbiter?: VmHost['openArbiter'];
}

export class SimHost implements VmHost {
  readonly clock: SimClock;
  readonly files: SimFiles;
  readonly sockets: Sockets;
  readonly entropy: Entropy;
  readonly taps: SimTaps;
  readonly folders: SimFolders;
  readonly accelerators: Accelerators;
  readonly limits: VmLimits;
  readonly step: StepHook;
  readonly openArbiter: VmHost['openArbiter'];
  readonly stdio = noTerminal;
  /** So short that a run passes them. */
  readonly intentTimes = { windowMs: 200, settleMs: 60 };
  /** A program is run, with these arguments. */
  onRun: (line: string) => void = () => undefined;
  readonly process = {
    pid: 4711,
    version: { major: 0, minor: 1, micro: 0, package: 'colo' },
    logInto: (path: string) => this.note(`log into ${path}`),
  };
  readonly shell: Shell = {
    run: () => {
      throw new VmError('a simulated host has no shell');
    },
  };
  readonly http: Http = {
    post: () => Promise.reject(new VmError('a simulated network has no web')),
  };
  readonly programs: Programs = {
    executable: async path => this.files.storage.inodes.has(path),
    run: async (path, args) => {
      if (!this.files.storage.inodes.has(path)) throw new VmError(`there is no '${path}'`);
      this.onRun([path, ...args].join(' '));
    },
    command: () => Promise.reject(new VmError('a simulated host has no shell')),
  };

  constructor(
    readonly node: SimNode,
    network: SimNetwork,
    options: SimHostOptions = {},
  ) {
    this.clock = node.clock;
    this.files = node.files;
    this.sockets = options.sockets ?? network.sockets(node);
    this.openArbiter = options.openArbiter;
    this.taps = new SimTaps(node);
    this.folders = new SimFolders(node, network);
    const chance = new Random(node.world.seed * 37 + node.name.charCodeAt(0));
    this.entropy = { fill: bytes => void bytes.forEach((_, n) => (bytes[n] = chance.below(256))) };
    this.accelerators =
      options.accelerators ??
      simAccelerators(({ cpu, ramBytes }) => new SimAccel(node, ramBytes, cpu));
    this.limits = options.limits ?? defaultLimits;
    this.step = options.step ?? (() => undefined);
  }

  /** Lines for people go to the world's log. */
  note(line: string): void {
    this.node.world.note(this.node.name, line);
  }

  /** One that is alone in its world. */
  static alone(options?: SimHostOptions): SimHost {
    const world = new World(1);
    return new SimHost(new SimNode('H', world), new SimNetwork(world), options);
  }
}
