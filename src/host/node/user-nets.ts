/**
 * User networks by libslirp, which a thread of the addon runs (native/addon/slirp_thread.h). Frames
 * come in batches: one call fetches many.
 */
import { VmError } from '../../base/errors.js';
import type { Forward, UserNet, UserNetConfig, UserNets } from '../ports.js';
import { type HostModule, hostModule, type NativeSlirp } from './addon.js';
import { systemError } from './errors.js';
import { FrameSource } from './frame-source.js';

const BATCH_BYTES = 256 * 1024;

export const nodeUserNets: UserNets = {
  open: config => new NodeUserNet(slirpOf(hostModule()), config),
};

/** Which part is missing decides what helps. */
export function slirpOf({ Slirp }: Pick<HostModule, 'Slirp'>): NonNullable<HostModule['Slirp']> {
  if (Slirp) return Slirp;
  if (Slirp === null)
    throw new VmError('the library libslirp.so.0 of the user network is missing on this host', {
      hint: 'On Debian: apt-get install libslirp0.',
    });
  throw new VmError('colo was built without libslirp, which makes the user network', {
    hint:
      'On Debian: apt-get install libslirp-dev; then build the addon anew: npm run build:native ' +
      '-- --force.',
  });
}

class NodeUserNet extends FrameSource implements UserNet {
  protected readonly native: NativeSlirp;
  private readonly batch = Buffer.allocUnsafeSlow(BATCH_BYTES);
  /** Of the batch: what is filled, and where the next frame begins. */
  private filled = 0;
  private at = 0;

  constructor(Slirp: NonNullable<HostModule['Slirp']>, config: UserNetConfig) {
    super();
    this.native = new Slirp(config, () => this.deliver());
  }

  get dropped(): number {
    return this.native.dropped();
  }

  write(frame: Uint8Array): boolean {
    return this.native.send(frame);
  }

  listen({ protocol, host, hostPort, guest, guestPort }: Forward): void {
    try {
      this.native.addForward(protocol === 'udp', host, hostPort, guest, guestPort);
    } catch (e) {
      throw systemError(`could not listen at ${protocol}:${host}:${hostPort}`, e);
    }
  }

  unlisten({ protocol, host, hostPort }: Omit<Forward, 'guest' | 'guestPort'>): void {
    this.native.removeForward(protocol === 'udp', host, hostPort);
  }

  connections(): string {
    return this.native.connections();
  }

  dispose(): void {
    this.filled = this.at = 0;
    this.listener = undefined;
    this.native.close();
  }

  /** What is left of a batch when the guest has had enough waits here for the next bell. */
  private deliver(): void {
    if (this.at >= this.filled) {
      this.filled = this.native.receive(this.batch);
      this.at = 0;
    }
    while (!this.paused && this.at < this.filled) {
      const start = this.at + 4;
      this.at = start + this.batch.readUInt32LE(this.at);
      this.listener?.(this.batch.subarray(start, this.at));
    }
  }
}
