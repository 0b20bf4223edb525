/** The disk pair against flat models: sectors are numbers. The primary forwards its writes, the secondary keeps what they overwrite. */
import { VmError } from '../../src/base/errors.js';
import type { Replicated, SyncCheck } from '../../src/block/contract.js';
import type { SimNetwork } from './network.js';
import { Random, type SimNode } from './world.js';

const sectors = 16;

export interface DiskFaults {
  /** Chance that one epoch's last reply is an error that goes away. */
  epochFails: number;
}

export class SimDisk implements Replicated {
  readonly name = 'disk0';
  readonly length = sectors * 65536;
  readonly content: number[] = Array.from({ length: sectors }, () => 0);
  peer!: SimDisk;
  private mode: 'off' | 'primary' | 'secondary' = 'off';
  private different: number[] = [];
  // primary
  private held: [number, number][] | undefined;
  private sent = 0;
  private acked = 0;
  private waiting: { count: number; resolve: (n: number) => void }[] = [];
  private line: (() => void)[] = [];
  // secondary
  private readonly undo = new Map<number, number>();
  private arrivedWrites = 0;
  private exported = true;
  private readonly random: Random;

  constructor(
    private readonly node: SimNode,
    private readonly network: SimNetwork,
    private readonly faults: DiskFaults,
  ) {
    this.random = new Random(node.world.seed * 13 + 5);
  }

  readonly sync: SyncCheck = {
    assumed: false,
    digest: async () => Buffer.from(JSON.stringify(this.content)),
    reconcile: async peer => {
      const theirs = JSON.parse(Buffer.from(peer).toString()) as number[];
      this.different = this.content.flatMap((v, i) => (v === theirs[i] ? [] : [i]));
      return this.different.length * 65536;
    },
  };

  write(sector: number, value: number): void {
    if (this.node.dead) return;
    this.content[sector] = value;
    if (this.mode === 'primary') this.forward(sector, value);
    else if (!this.different.includes(sector)) this.different.push(sector);
  }

  claim(): void {
    // nobody plugs here
  }

  async start(mode: 'primary' | 'secondary'): Promise<void> {
    this.mode = mode;
    this.undo.clear();
    this.arrivedWrites = 0;
    if (mode === 'secondary') return;
    for (const sector of this.different.splice(0)) this.forward(sector, this.content[sector]);
  }

  cut(): { epochDone: Promise<number> } {
    this.held = [];
    const count = this.sent;
    if (this.random.chance(this.faults.epochFails)) return { epochDone: Promise.reject(new VmError('Input/output error')) };
    if (this.acked >= count) return { epochDone: Promise.resolve(count) };
    return { epochDone: new Promise(resolve => this.waiting.push({ count, resolve })) };
  }

  committed(): void {
    if (this.node.dead) return;
    this.sent = this.acked = 0;
    this.flow();
  }

  aborted(): void {
    this.waiting = [];
    this.flow();
  }

  arrived(): number {
    return this.arrivedWrites;
  }

  async checkpoint(): Promise<void> {
    await new Promise<void>(resolve => void this.node.clock.timer(this.random.between(0, 0.3), resolve));
    if (this.node.dead) return;
    this.undo.clear();
    this.arrivedWrites = 0;
  }

  async stop(failover: boolean): Promise<void> {
    if (this.node.dead) return;
    if (this.mode === 'secondary') {
      if (failover && this.exported) this.node.world.fail('overlays merged while the export still serves');
      this.exported = false;
      for (const [sector, value] of this.undo) this.content[sector] = value;
      this.undo.clear();
    }
    this.mode = 'off';
    this.held = undefined;
  }

  dropExport(): void {
    this.exported = false;
  }

  error(): Error | undefined {
    return undefined;
  }

  /** A write may wait here for a commit. */
  get replicating(): boolean {
    return this.mode !== 'off';
  }

  private flow(): void {
    const held = this.held ?? [];
    this.held = undefined;
    for (const [sector, value] of held) this.forward(sector, value);
  }

  private forward(sector: number, value: number): void {
    if (this.held) return void this.held.push([sector, value]);
    this.sent++;
    // One connection: requests arrive in order, whatever each one's delay.
    this.line.push(() => this.peer.take(sector, value, () => this.reply()));
    this.network.carry(() => this.peer.node.deliver('input', () => this.line.shift()?.()));
  }

  private take(sector: number, value: number, reply: () => void): void {
    if (this.node.dead || !this.exported || this.mode !== 'secondary') return;
    if (!this.undo.has(sector)) this.undo.set(sector, this.content[sector]);
    this.content[sector] = value;
    this.arrivedWrites++;
    this.network.carry(() => this.peer.node.deliver('input', reply));
  }

  private reply(): void {
    this.acked++;
    const ready = this.waiting.filter(w => this.acked >= w.count);
    this.waiting = this.waiting.filter(w => this.acked < w.count);
    for (const { count, resolve } of ready) resolve(count);
  }
}
