/**
 * A device's share of one turn of the main loop. Rings that are refilled at once and disks that
 * answer at once would keep it busy for ever in the same turn, and timers, peers and monitors would
 * wait. When the share is used up the rest follows behind what else the main loop has to do.
 */
export interface TurnLimit {
  readonly chains: number;
  readonly descriptors: number;
  readonly bytes: number;
}

/** About five milliseconds of work at the most. */
export const VIRTIO_TURN: TurnLimit = { chains: 256, descriptors: 8192, bytes: 16 << 20 };

export class Turn {
  private chains = 0;
  private descriptors = 0;
  private bytes = 0;
  private wanted = false;
  /** Set while work of this turn was counted: it fires in the next one. */
  private marker: { dispose(): void } | undefined;

  /** more: continues with what is left over. */
  constructor(
    private readonly limit: TurnLimit,
    private readonly soon: (fn: () => void) => { dispose(): void },
    private readonly more: () => void,
  ) {}

  /** False: nothing more in this turn; more() is called in the next. */
  get open(): boolean {
    const { chains, descriptors, bytes } = this.limit;
    const open = this.chains < chains && this.descriptors < descriptors && this.bytes < bytes;
    if (!open) this.wanted = true;
    return open;
  }

  spend(descriptors: number, bytes: number): void {
    this.chains++;
    this.descriptors += descriptors;
    this.bytes += bytes;
    this.marker ??= this.soon(() => this.begin());
  }

  /** In any case once more in the next turn. */
  again(): void {
    this.wanted = true;
    this.marker ??= this.soon(() => this.begin());
  }

  /** Pause and reset: nothing is left to be done. */
  end(): void {
    this.marker?.dispose();
    this.clear();
  }

  private begin(): void {
    const { wanted } = this;
    this.clear();
    if (wanted) this.more();
  }

  private clear(): void {
    this.marker = undefined;
    this.chains = this.descriptors = this.bytes = 0;
    this.wanted = false;
  }
}
