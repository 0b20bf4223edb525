/**
 * Limits of a drive, or of a group of drives: leaky buckets, as QEMU's. A request goes when no
 * bucket is too full, and then fills them; reads wait for reads and writes for writes, in order.
 * Who drains lets everything go.
 */
import type { Clock } from '../../host/ports.js';
import {
  type BucketName,
  bucketNames,
  type Limit,
  type ThrottleLimits,
} from '../options/throttle-limits.js';

type Direction = 'read' | 'write';

class Bucket {
  private level = 0;
  /** Of what goes beyond max within a burst of some seconds. */
  private burst = 0;
  private leakedAtMs = 0;

  constructor(private readonly limit: Limit) {}

  fill(units: number): void {
    this.level += units;
    if (this.limit.length > 1) this.burst += units;
  }

  /** How long until the next request may go. */
  waitMs(now: number): number {
    const { avg, max, length } = this.limit;
    const seconds = (now - this.leakedAtMs) / 1000;
    this.leakedAtMs = now;
    this.level = Math.max(0, this.level - avg * seconds);
    this.burst = Math.max(0, this.burst - max * seconds);
    const extra = this.level - (max > 0 ? max * length : avg / 10);
    if (extra > 0) return (extra * 1000) / avg;
    const over = length > 1 ? this.burst - max / 10 : 0;
    return over > 0 ? (over * 1000) / max : 0;
  }
}

export class Throttle {
  private buckets = new Map<BucketName, Bucket>();
  private readonly tails: Record<Direction, Promise<void>> = {
    read: Promise.resolve(),
    write: Promise.resolve(),
  };
  private readonly wakeups = new Set<() => void>();
  private drains = 0;

  constructor(
    private readonly clock: Clock,
    private current: ThrottleLimits,
    /** What the group is called. */
    readonly group: string,
  ) {
    this.configure(current);
  }

  get limits(): ThrottleLimits {
    return this.current;
  }

  /** What waits is judged by the new limits at once. */
  configure(limits: ThrottleLimits): void {
    this.current = limits;
    this.buckets = new Map(
      bucketNames
        .filter(name => limits.buckets[name].avg > 0)
        .map(name => [name, new Bucket(limits.buckets[name])]),
    );
    this.wake();
  }

  /** Resolves when the request may go. */
  admit(direction: Direction, bytes: number): Promise<void> {
    const turn = this.tails[direction].then(async () => {
      for (let waitMs = this.waitMs(direction); waitMs > 0; waitMs = this.waitMs(direction))
        await this.sleep(waitMs);
      this.charge(direction, bytes);
    });
    this.tails[direction] = turn;
    return turn;
  }

  /**
   * Nothing waits until the returned function is called: a guest that is to stop must not wait for
   * its budget.
   */
  open(): () => void {
    this.drains++;
    this.wake();
    let over = false;
    return () => {
      if (!over) this.drains--;
      over = true;
    };
  }

  private waitMs(direction: Direction): number {
    if (this.drains > 0) return 0;
    const now = this.clock.nowMs();
    return Math.max(0, ...this.concerned(direction).map(([, bucket]) => bucket.waitMs(now)));
  }

  private charge(direction: Direction, bytes: number): void {
    const { iopsSize } = this.current;
    const operations = iopsSize > 0 && bytes > iopsSize ? bytes / iopsSize : 1;
    for (const [name, bucket] of this.concerned(direction))
      bucket.fill(name.startsWith('bps') ? bytes : operations);
  }

  private concerned(direction: Direction): [BucketName, Bucket][] {
    return [...this.buckets].filter(
      ([name]) => name.endsWith('-total') || name.endsWith(direction),
    );
  }

  private sleep(ms: number): Promise<void> {
    return new Promise(resolve => {
      const done = () => {
        timer.dispose();
        this.wakeups.delete(done);
        resolve();
      };
      const timer = this.clock.timer(Math.ceil(ms), done);
      this.wakeups.add(done);
    });
  }

  private wake(): void {
    for (const wake of [...this.wakeups]) wake();
  }
}
