/** The rounds of RAM that come from a peer before its guest does: in order, and all of it. */
import type { Ram } from '../accel/contract.js';
import { VmError } from '../base/errors.js';
import type { TransferMessage } from './messages.js';
import { applyChunk, decodeChunk, pagesOf } from './pages.js';
import type { MigrationState } from './status.js';

/** The first round has every page, so it overwrites what an earlier attempt left. */
export class Rounds {
  /** Pages so far, in all rounds. */
  pages = 0;
  private rounds = 0;
  private last = -1;

  constructor(
    private readonly ram: Ram,
    private readonly migration: Pick<MigrationState, 'received' | 'receivedRound'>,
    private readonly max = Infinity,
  ) {}

  /** False: the message is not of RAM. */
  hear(message: { type: string } | RamMessage): boolean {
    if (!isRam(message)) return false;
    if (message.type === 'pages') this.take(message.body);
    else this.end();
    return true;
  }

  /** All of RAM is here, and no round is under way. */
  get whole(): boolean {
    return this.rounds > 0 && this.last === -1;
  }

  private take(body: Buffer): void {
    if (this.rounds >= this.max) throw new VmError(`more than ${this.max} rounds of RAM`);
    const chunk = decodeChunk(body, this.ram.pageCount, this.last);
    applyChunk(this.ram, chunk);
    this.pages += pagesOf(chunk);
    this.last = chunk.last;
    this.migration.received(body.length);
  }

  private end(): void {
    const { pageCount } = this.ram;
    if (this.rounds === 0 && this.pages !== pageCount) {
      throw new VmError(`the first round has ${this.pages} of ${pageCount} pages`);
    }
    if (++this.rounds > this.max) throw new VmError(`more than ${this.max} rounds of RAM`);
    this.last = -1;
    this.migration.receivedRound();
  }
}

type RamMessage = Extract<TransferMessage, { type: 'pages' | 'round-end' }>;
const isRam = (message: { type: string }): message is RamMessage =>
  message.type === 'pages' || message.type === 'round-end';
