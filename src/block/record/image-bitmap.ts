/**
 * The write-intent bitmap of one open image: in which regions it may differ from its peer's image.
 * A mark is durable before the write that it covers begins; it is taken away long after, when both
 * sides hold the same there. Two images that share a common point are equal but for what either of
 * them has marked.
 */
import { asVmError, VmError } from '../../base/errors.js';
import { mutant } from '../../base/mutant.js';
import type { Clock, OpenFile } from '../../host/ports.js';
import { IntentFile, type IntentFiles } from './intent-file.js';
import {
  BASES_MAX,
  type CommonPoint,
  type IntentFormat,
  type IntentHeader,
  sectorCountOf,
  sectorOf,
} from './intent-sectors.js';
import type { PairRecord } from './pair-record.js';
import { type Range, Regions } from './regions.js';

export interface IntentTimes {
  /**
   * The bitmap names a time that no write of colo passes; a write that another program made later
   * is found by the image's time of change. It is moved on when half of this is over.
   */
  readonly windowMs: number;
  /** What was not written for so long, and is equal at the peer, need not be marked. */
  readonly settleMs: number;
}

/** A sync every 5 s while the guest writes, and few regions that are marked for long. */
export const defaultIntentTimes: IntentTimes = { windowMs: 10_000, settleMs: 30_000 };

export interface IntentPorts {
  readonly files: IntentFiles;
  readonly clock: Clock;
  readonly times: IntentTimes;
}

/** The points that a bitmap counts from, by their names; or why there is nothing to go by. */
export type IntentStanding = { readonly bases: readonly string[] } | { readonly why: string };

/** What an image is bound to from now on. */
export interface IntentBinding {
  readonly pair: string;
  readonly base: CommonPoint;
  /** The point that holds too, as long as the peer has not heard of the new one. */
  readonly former?: string;
  readonly format: IntentFormat;
  readonly length: number;
}

interface Live {
  header: IntentHeader;
  /** As they are to be in the file. */
  bits: Regions;
  /** As they are in the file, for sure. */
  durable: Regions;
  /** Written since the last cut that settles. */
  touched: Regions;
  /** Written in the time before that. */
  hot: Regions;
  /** Marked, and not yet durable. */
  fresh: Range[];
  /** The peer counts from the newest point, too. */
  confirmed: boolean;
  settling: 'no' | 'cut' | 'flushing' | 'clearing';
  settledMs: number;
  /** When the header's limit was moved on. */
  windowAtMs: number;
}

/** A run of writes is marked ahead, by at most so much and by a part of the disk. */
const AHEAD_BYTES = 16 * 1024 * 1024;
const AHEAD_PART = 16;
/** File systems count time in ticks of the kernel. */
const TICK_US = 20_000;

export class ImageBitmap {
  private place: IntentFile | undefined;
  private live: Live | undefined;
  private why = 'the image has no bitmap';
  /** A file is there that must not count any more once the image has changed. */
  private stale: IntentHeader | undefined;
  private openedAs: IntentFormat | undefined;
  /** All that is written comes from the peer, which has marked it. */
  private following = false;
  private adopted = false;
  private waiting: Promise<void> | undefined;
  private turn: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly ports: IntentPorts,
    /** The image; it may be opened anew. */
    private readonly image: () => OpenFile,
  ) {}

  /** Never rejects: what cannot be read is nothing to go by. */
  async load(): Promise<void> {
    this.live = this.stale = undefined;
    try {
      this.place = await IntentFile.beside(this.ports.files, this.image());
      const found = await this.place.read();
      if (!found) return;
      const { voided } = found.header;
      if (voided !== '') return void (this.why = `its bitmap: ${voided}`);
      this.stale = found.header;
      await this.check(found.header);
      this.stale = undefined;
      this.live = this.begun(found.header, found.regions);
      this.live.durable.add(found.regions);
      this.live.windowAtMs = -Infinity;
    } catch (error) {
      this.why = `its bitmap: ${asVmError(error).message}`;
      if (this.place) this.stale ??= { ...nothing, limitUs: this.limitUs() };
    }
  }

  /** Another writer is known by the time of the image's last change. */
  private async check(header: IntentHeader): Promise<void> {
    if (header.image !== this.place!.image) throw new VmError("it is another image's");
    if (header.bases.length === 0) throw new VmError('it counts from no point');
    const changedUs = await this.image().changedUs?.();
    if (changedUs !== undefined && changedUs > header.limitUs + TICK_US)
      throw new VmError('the image was changed after colo had written to it for the last time');
  }

  /** A driver of this format is laid over the file. */
  usedAs(format: IntentFormat): void {
    this.openedAs = format;
  }

  /** What the peer may rely on, of a disk of this length. */
  standing(record: PairRecord | undefined, length: number): IntentStanding {
    const { live } = this;
    if (!live) return { why: this.why };
    const { header } = live;
    if (!record || header.pair !== record.pair) return { why: 'its bitmap is of another pair' };
    const line = [record.branch, ...record.history];
    const bases = header.bases.filter(({ branch }) => line.includes(branch));
    if (bases.length === 0) return { why: 'its bitmap is of another generation' };
    if (header.length !== length) return { why: 'its bitmap is of a disk of another length' };
    return { bases: bases.map(({ id }) => id) };
  }

  /** For people. */
  get summary(): string {
    const { live } = this;
    if (!live) return this.why;
    const { bits, header } = live;
    const { generation } = header.bases[0];
    const marked = `${bits.marked} of ${bits.count} regions of ${bits.regionBytes / 1024} KiB`;
    return `${marked} marked, counted from generation ${generation}`;
  }

  /** undefined: there is nothing to go by. */
  get marked(): Regions | undefined {
    return this.live?.bits;
  }

  /**
   * Before each change. side: whose bytes the range counts, the file's or those of the disk in it.
   * undefined: it may go on at once, as it does wherever it is marked already.
   */
  intend(side: 'file' | 'disk', offset: number, length: number): Promise<void> | undefined {
    const { live } = this;
    if (!live) return this.stale && this.enqueue(() => this.invalidate());
    if (length === 0) return undefined;
    const { format } = live.header;
    if (side === 'disk' && format === 'raw') return undefined; // its bytes come by the file
    if (side === 'file' && format !== 'raw') {
      if (this.openedAs === format) return this.window(live);
      return this.drop('the image was written past its format');
    }
    if (this.following || mutant('mark-lost')) return this.window(live);
    live.touched.mark(offset, length);
    if (live.durable.covers(offset, length)) return this.window(live);
    const range = { offset, length: length + aheadOf(live.durable, offset) };
    live.bits.mark(range.offset, range.length);
    live.fresh.push(range);
    const durable = this.sync();
    if (!mutant('mark-not-durable')) return durable;
    durable.catch(() => undefined);
    return undefined;
  }

  /** The disk in it gets another length. */
  resized(side: 'file' | 'disk'): Promise<void> | undefined {
    if ((side === 'file') !== (this.live?.header.format === 'raw')) return undefined;
    return this.drop('the length of the disk was changed');
  }

  /** Before a change that is none of the content. */
  touch(): Promise<void> | undefined {
    return this.live && this.window(this.live);
  }

  /** What is in the image is not what the bits count any more. */
  drop(why: string): Promise<void> | undefined {
    if (!this.live) return undefined;
    this.distrust(this.live, why);
    return this.enqueue(() => this.invalidate());
  }

  private distrust({ header }: Live, why: string): void {
    this.stale = header;
    this.live = undefined;
    this.why = `its bitmap: ${why}`;
  }

  /**
   * The image counts from a new point. marks: where it is not equal to the peer's; what was marked
   * before stays so where the former point holds. VmError: it cannot be kept, and is void.
   */
  bind(binding: IntentBinding, marks: Regions): Promise<void> {
    return this.enqueue(async () => {
      if (!this.place) throw new VmError(this.why);
      const old = this.live;
      const former = old?.header.bases.find(({ id }) => id === binding.former);
      const bits = new Regions(binding.length);
      bits.add(marks);
      if (old && former) bits.add(old.bits);
      const header = this.headerOf(binding, former);
      const live = (this.live = this.begun(header, bits));
      this.adopted = false;
      const written = Regions.decode(bits.length, bits.encode());
      try {
        await this.place.create(header, bits);
      } catch (error) {
        this.live = undefined;
        this.stale = header;
        this.why = `its bitmap cannot be kept: ${asVmError(error).message}`;
        throw error;
      }
      this.stale = undefined;
      live.durable.add(written);
    });
  }

  /** The secondary, from the primary's point: what comes from there is marked there. */
  async adopt(binding: IntentBinding): Promise<void> {
    await this.bind(binding, new Regions(binding.length));
    this.adopted = true;
  }

  follow(on: boolean): void {
    this.following = on && this.adopted;
    if (!on) this.adopted = false;
  }

  /** More that is to be marked. Durable when it resolves. */
  async mark(ranges: Iterable<Range>): Promise<void> {
    const { live } = this;
    if (!live) return;
    for (const range of ranges) {
      live.bits.mark(range.offset, range.length);
      live.touched.mark(range.offset, range.length);
      live.fresh.push(range);
    }
    await this.sync();
  }

  /** The peer keeps the newest point durably. */
  confirm(): void {
    if (this.live) this.live.confirmed = true;
  }

  /**
   * The guest stands still, and nothing is being written. When this epoch is committed, and both
   * sides have flushed, what was not written for a while is equal for good.
   */
  cut(): void {
    const { live } = this;
    if (!live?.confirmed || live.settling !== 'no') return;
    if (this.ports.clock.nowMs() - live.settledMs < this.ports.times.settleMs) return;
    live.settling = 'cut';
    live.hot = live.touched;
    live.touched = new Regions(live.bits.length);
  }

  aborted(): void {
    if (this.live?.settling === 'cut') unsettle(this.live);
  }

  /** There is no peer any more: another one has to confirm a point of its own. */
  alone(): void {
    this.aborted();
    if (this.live) this.live.confirmed = false;
  }

  /** flush: of both images. Nothing waits for it. */
  committed(flush: () => Promise<void>): void {
    const { live } = this;
    if (live?.settling !== 'cut') return;
    live.settling = 'flushing';
    void flush()
      .then(() => {
        live.settling = 'clearing';
        return this.live === live ? this.sync() : undefined;
      })
      .catch(() => live.settling === 'flushing' && unsettle(live));
  }

  /** Nothing is written any more: every later change of the image is another program's. */
  async close(): Promise<void> {
    await this.turn;
    if (!this.image().readOnly) await this.stamp().catch(() => undefined);
    await this.release();
  }

  /** Another process has the image from here on. */
  async release(): Promise<void> {
    this.live = this.stale = undefined;
    await this.turn;
    await this.place?.close();
  }

  /** A failure leaves the limit that is there, which holds as well. */
  private async stamp(): Promise<void> {
    const { live } = this;
    const changedUs = live && (await this.image().changedUs?.());
    if (changedUs === undefined || changedUs >= live!.header.limitUs) return;
    const header = { ...live!.header, limitUs: changedUs };
    await this.place!.change(header, header, [], live!.bits);
  }

  /** The image belongs to no pair any more. */
  async remove(): Promise<void> {
    this.live = this.stale = undefined;
    await this.turn;
    await this.place?.remove();
  }

  private window(live: Live): Promise<void> | undefined {
    const age = this.ports.clock.nowMs() - live.windowAtMs;
    const { windowMs } = this.ports.times;
    if (age < windowMs / 2) return undefined;
    const moved = this.sync();
    if (age > windowMs * 0.8) return moved;
    moved.catch(() => undefined);
    return undefined;
  }

  private begun(header: IntentHeader, bits: Regions): Live {
    const empty = () => new Regions(bits.length);
    const now = this.ports.clock.nowMs();
    return {
      header,
      bits,
      durable: empty(),
      touched: empty(),
      hot: empty(),
      fresh: [],
      confirmed: false,
      settling: 'no',
      settledMs: now,
      windowAtMs: now,
    };
  }

  private headerOf(
    { pair, base, format, length }: IntentBinding,
    former: CommonPoint | undefined,
  ): IntentHeader {
    const bases = [base, ...(former ? [former] : [])].slice(0, BASES_MAX);
    const { image } = this.place!;
    // A point is of chance, and a file is made for it once.
    const instance = base.id.slice(0, 16);
    const limitUs = this.limitUs();
    return { instance, pair, bases, format, length, image, limitUs, voided: '' };
  }

  private limitUs(): number {
    const { clock, times } = this.ports;
    return Math.round((clock.wallMs() + times.windowMs) * 1000);
  }

  /** Those who wait for a sync that has not begun share it. */
  private sync(): Promise<void> {
    return (this.waiting ??= this.enqueue(() => {
      this.waiting = undefined;
      return this.write();
    }));
  }

  private enqueue(work: () => Promise<void>): Promise<void> {
    const done = this.turn.then(work);
    this.turn = done.catch(() => undefined);
    return done;
  }

  private async write(): Promise<void> {
    const { live } = this;
    if (!live) return this.stale && this.invalidate();
    const marks = live.fresh.splice(0);
    const sectors = new Set(marks.flatMap(range => sectorsOf(range, live.bits)));
    const clearing = live.settling === 'clearing';
    if (clearing) for (const n of this.clear(live, marks)) sectors.add(n);
    const { clock, times } = this.ports;
    const moves = clearing || clock.nowMs() - live.windowAtMs >= times.windowMs / 2;
    const nowMs = clock.nowMs();
    if (moves) live.header = { ...live.header, limitUs: this.limitUs() };
    try {
      await this.place!.change(moves ? live.header : undefined, live.header, sectors, live.bits);
    } catch (error) {
      this.distrust(live, `it cannot be written: ${asVmError(error).message}`);
      return this.invalidate();
    }
    if (moves) live.windowAtMs = nowMs;
    for (const { offset, length } of marks) live.durable.mark(offset, length);
  }

  /** What was quiet, and is equal at both sides. Gives the sectors. */
  private clear(live: Live, marks: readonly Range[]): number[] {
    const keep = live.hot;
    keep.add(live.touched);
    for (const { offset, length } of marks) keep.mark(offset, length);
    live.bits = keep;
    live.durable.retain(keep);
    live.hot = new Regions(keep.length);
    live.header = { ...live.header, bases: live.header.bases.slice(0, 1) };
    live.settling = 'no';
    live.settledMs = this.ports.clock.nowMs();
    return Array.from({ length: sectorCountOf(keep) }, (_, n) => n);
  }

  /**
   * Before the image is changed without a mark. If nothing can be written beside it, time passes
   * until the image's own time of change tells that the bitmap does not count.
   */
  private async invalidate(): Promise<void> {
    const { stale, ports } = this;
    if (!stale) return;
    try {
      await this.place!.invalidate({ ...stale, voided: reasonOf(this.why) });
    } catch (error) {
      if ((await this.image().changedUs?.()) === undefined) throw error;
      const leftMs = stale.limitUs / 1000 + 1000 - ports.clock.wallMs();
      await new Promise<void>(go => void ports.clock.timer(Math.max(0, leftMs), go));
    }
    if (this.stale === stale) this.stale = undefined;
  }
}

function unsettle(live: Live): void {
  live.touched.add(live.hot);
  live.hot = new Regions(live.bits.length);
  live.settling = 'no';
}

function sectorsOf({ offset, length }: Range, regions: Regions): number[] {
  const first = sectorOf(offset, regions);
  const last = sectorOf(Math.min(offset + length, regions.length) - 1, regions);
  return Array.from({ length: last - first + 1 }, (_, n) => first + n);
}

/** As much again as is marked right before it: a long run of writes waits for few syncs. */
function aheadOf(durable: Regions, offset: number): number {
  const { regionBytes } = durable;
  const most = Math.min(AHEAD_BYTES, durable.length / AHEAD_PART);
  const region = Math.floor(offset / regionBytes);
  let run = 0;
  while ((run + 1) * regionBytes <= most && run < region && durable.has(region - run - 1)) run++;
  return run * regionBytes;
}

const reasonOf = (why: string) => why.replace(/^its bitmap: /, '').replace(/[^ -~]/g, '?') || '?';

/** Of what could not be read. */
const nothing: IntentHeader = {
  instance: '0'.repeat(16),
  pair: '00000000-0000-0000-0000-000000000000',
  bases: [],
  format: 'raw',
  length: 0,
  image: '',
  limitUs: 0,
  voided: '',
};
