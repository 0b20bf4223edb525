/**
 * Signs of life beside a simulated connection: datagrams that may be lost, of a thread that stands
 * still with its process. What has arrived waits in the kernel until the thread looks.
 */
import type { Heartbeat, HeartbeatOptions } from '../../../src/host/ports.js';
import type { SimNetwork } from './network.js';
import type { SimNode } from './node.js';

const LOSS = 0.02;

export class SimHeartbeat implements Heartbeat {
  readonly port = 9;
  private aimed: boolean;
  private ended = false;
  private arrived = false;
  private heard = false;
  private quietMs = 0;
  private turnedBy = 0;

  constructor(
    private readonly network: SimNetwork,
    private readonly node: SimNode,
    private readonly options: HeartbeatOptions,
    private readonly other: () => SimHeartbeat | undefined,
  ) {
    this.aimed = !options.caller;
    this.turned();
    this.sleep();
  }

  aim(): void {
    this.aimed = true;
  }

  turned(busyMs = 0): void {
    this.turnedBy = this.node.clock.nowMs() + this.options.loopLimitMs + busyMs;
  }

  setInterval(ms: number): void {
    this.options.intervalMs = ms;
  }

  get silentMs(): number | undefined {
    return this.heard ? this.quietMs : undefined;
  }

  dispose(): void {
    this.ended = true;
  }

  private sleep(): void {
    this.network.world.after(this.options.intervalMs, () =>
      this.node.deliver('timer', () => this.wake()),
    );
  }

  private wake(): void {
    if (this.ended) return;
    this.heard ||= this.arrived;
    this.quietMs = this.arrived ? 0 : this.quietMs + this.options.intervalMs;
    this.arrived = false;
    // Who was called answers to where it hears from.
    const aimed = this.aimed && (this.options.caller || this.heard);
    if (aimed && this.node.clock.nowMs() < this.turnedBy) this.send();
    this.sleep();
  }

  private send(): void {
    const { world, latencyMs } = this.network;
    const lost = world.random.chance(LOSS);
    world.after(world.random.between(...latencyMs), () => {
      if (lost || this.network.blocked) return;
      const other = this.other();
      if (other && Buffer.compare(other.options.key, this.options.key) === 0) other.arrived = true;
    });
  }
}
