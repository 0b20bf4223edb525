/**
 * How fast bytes go over the wire lately: the mean of the last few seconds, between one and two
 * windows of them. A mean since the beginning says nothing of a pair that has run for a week.
 */
const WINDOW_MS = 3000;

export class Throughput {
  private bytes = 0;
  /** The mean is from here on; the later mark takes its place when it is a window old. */
  private from = { ms: 0, bytes: 0 };
  private next = { ms: 0, bytes: 0 };
  private lastMs = 0;

  constructor(private readonly nowMs: () => number) {
    this.reset();
  }

  reset(): void {
    this.bytes = 0;
    this.from = this.next = { ms: this.nowMs(), bytes: 0 };
    this.lastMs = this.from.ms;
  }

  add(bytes: number): void {
    this.bytes += bytes;
    this.lastMs = this.nowMs();
    if (this.lastMs - this.next.ms >= WINDOW_MS) {
      this.from = this.next;
      this.next = { ms: this.lastMs, bytes: this.bytes };
    }
  }

  /** Of a migration that is over: as it was at its end. */
  get bytesPerMs(): number {
    const nowMs = this.nowMs();
    const untilMs = nowMs - this.lastMs > WINDOW_MS ? this.lastMs : nowMs;
    return (this.bytes - this.from.bytes) / Math.max(1, untilMs - this.from.ms);
  }
}
