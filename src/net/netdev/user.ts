/**
 * A guest's network made of this process's own sockets, as QEMU's `-netdev user`: no rights and no
 * interface of the host are needed. The guest's connections live in here, so a failover ends them;
 * what it connects anew goes on.
 *
 * Forwards listen where the guest runs: not on a side that waits for its guest, for on one host the
 * other side has the ports, nor on one that has lost it. A port that is taken then is tried again.
 */
import type { Disposable } from '../../base/disposable.js';
import { asVmError, VmError } from '../../base/errors.js';
import type { Clock, Forward, UserNet, UserNetConfig, UserNets } from '../../host/ports.js';
import type { Forwards } from '../contract.js';
import type { OutputHoldLimits } from '../filter/output-hold.js';
import type { Wire } from './wired.js';
import { WiredNetdev } from './wired.js';

const FORWARDS_MAX = 256;
const RETRY_MS = 1000;

export interface UserNetdevOptions {
  readonly config: UserNetConfig;
  readonly forwards: readonly Forward[];
  /** The guest is elsewhere: nothing listens until it runs here. */
  readonly waits: boolean;
}

export interface UserNetdevPorts {
  readonly nets: UserNets;
  readonly clock: Clock;
  note(line: string): void;
}

interface Door {
  readonly forward: Forward;
  open: boolean;
  /** Its failure was told of. */
  told: boolean;
}

class UserWire implements Wire, Forwards {
  readonly type = 'user';
  private net: UserNet | undefined;
  private readonly doors: Door[] = [];
  private begun = false;
  private paused = false;
  private frame: (frame: Uint8Array) => void = () => undefined;
  private retry: Disposable | undefined;

  constructor(
    private readonly options: UserNetdevOptions,
    private readonly ports: UserNetdevPorts,
  ) {
    this.net = ports.nets.open(options.config);
    this.begun = !options.waits;
    try {
      for (const forward of options.forwards) this.add(forward);
    } catch (error) {
      this.net.dispose();
      throw error;
    }
  }

  get config(): UserNetConfig {
    return this.options.config;
  }

  properties() {
    const { net, mask, restrict } = this.config;
    return {
      net: `${net}/${mask}`,
      restrict: restrict ? 'on' : 'off',
      dropped: this.net?.dropped ?? 0,
    };
  }

  onFrame(fn: (frame: Uint8Array) => void): void {
    this.frame = fn;
    this.net?.onFrame(fn);
  }

  write(frame: Uint8Array): boolean {
    return this.net?.write(frame) ?? true;
  }

  pause(): void {
    this.paused = true;
    this.net?.pause();
  }

  resume(): void {
    this.paused = false;
    this.net?.resume();
  }

  begin(): void {
    if (this.begun) return;
    this.begun = true;
    if (!this.net) this.reopen();
    this.tryDoors();
  }

  /** Its connections end too: their guest goes on elsewhere, and clients had better know. */
  lost(): void {
    this.begun = false;
    this.close();
  }

  add(forward: Forward): void {
    if (this.find(forward)) throw new VmError(`${show(forward)} is forwarded already`);
    if (this.doors.length >= FORWARDS_MAX)
      throw new VmError(`a netdev forwards at most ${FORWARDS_MAX} ports`);
    if (this.begun) this.net?.listen(forward);
    this.doors.push({ forward, open: this.begun, told: false });
  }

  remove(from: Omit<Forward, 'guest' | 'guestPort'>): boolean {
    const door = this.find(from);
    if (!door) return false;
    this.doors.splice(this.doors.indexOf(door), 1);
    if (door.open) this.net?.unlisten(from);
    return true;
  }

  describe(): string {
    const waiting = this.doors.filter(door => !door.open).map(door => `  ${waits(door)}\n`);
    return (this.net?.connections() ?? '') + waiting.join('');
  }

  dispose(): void {
    this.close();
    this.doors.length = 0;
  }

  private close(): void {
    this.retry?.dispose();
    this.retry = undefined;
    this.net?.dispose();
    this.net = undefined;
    for (const door of this.doors) door.open = false;
  }

  private reopen(): void {
    this.net = this.ports.nets.open(this.config);
    if (this.paused) this.net.pause();
    this.net.onFrame(this.frame);
  }

  /** The guest goes on, whatever a port says. */
  private tryDoors(): void {
    this.retry = undefined;
    for (const door of this.doors.filter(({ open }) => !open)) this.tryDoor(door);
    if (this.doors.some(({ open }) => !open))
      this.retry = this.ports.clock.timer(RETRY_MS, () => this.tryDoors());
  }

  private tryDoor(door: Door): void {
    try {
      this.net?.listen(door.forward);
      door.open = true;
      if (door.told) this.ports.note(`${show(door.forward)} leads to the guest now`);
      door.told = false;
    } catch (error) {
      if (!door.told) this.ports.note(`${asVmError(error).message}; it is tried again each second`);
      door.told = true;
    }
  }

  private find({ protocol, host, hostPort }: Omit<Forward, 'guest' | 'guestPort'>) {
    return this.doors.find(
      ({ forward: f }) => f.protocol === protocol && f.host === host && f.hostPort === hostPort,
    );
  }
}

const waits = ({ forward: f, told }: Door) =>
  `${show(f)} to ${f.guest}:${f.guestPort} waits for the ${told ? 'port' : 'guest'}`;

const show = ({ protocol, host, hostPort }: Forward) => `${protocol}:${host}:${hostPort}`;

export class UserNetdev extends WiredNetdev {
  private constructor(
    id: string,
    override readonly forwards: UserWire,
    clock: Clock,
    limits?: OutputHoldLimits,
  ) {
    super(id, forwards, clock, limits);
  }

  static open(
    id: string,
    options: UserNetdevOptions,
    ports: UserNetdevPorts,
    limits?: OutputHoldLimits,
  ): UserNetdev {
    return new UserNetdev(id, new UserWire(options, ports), ports.clock, limits);
  }
}
