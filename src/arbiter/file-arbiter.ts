/**
 * `file:DIR`: a directory that both hosts mount, each where it likes: a file `id` in it says which
 * one it is, and that what is mounted there now is what was there before. Each term is a file of
 * its own, named by its number; the highest is the record. Whoever gives the next number its name
 * has won the comparison, without a lock that a dead host would keep.
 */
import { VmError, asVmError } from '../base/errors.js';
import type { Clock, Entropy, RecordFolder } from '../host/ports.js';
import { Bounded } from './bounded.js';
import { type Arbiter, ArbiterAway, checkNext, type Held, type SwapResult } from './contract.js';
import { type ArbiterRecord, decodeRecord, encodeRecord, RECORD_BYTES_MAX } from './record.js';

/** So many terms stay; the rest is of use to nobody. */
const TERMS_KEPT = 16;
const DIGITS = 16;
const fileOf = (term: number) => String(term).padStart(DIGITS, '0');
const ID_FILE = 'id';
const ID_BYTES = 16;
const isId = (text: string) => /^[0-9a-f]{32}$/.test(text);
const isTerm = (name: string) => /^[0-9]{16}$/.test(name) && Number.isSafeInteger(Number(name));

export class FileArbiter implements Arbiter {
  readonly name: string;
  readonly keeps = 'shared';
  private readonly bounded: Bounded;
  /** Of the directory in which this process has seen or made a record: it is the one. */
  private id: string | undefined;

  constructor(
    private readonly folder: RecordFolder,
    clock: Clock,
    private readonly entropy: Entropy,
    timeoutMs: number,
  ) {
    this.name = `file:${folder.path}`;
    this.bounded = new Bounded(clock, this.name, timeoutMs);
  }

  read(): Promise<Held | undefined> {
    return this.bounded.run('read', async () => {
      const id = await this.checkId();
      const held = await this.newest();
      if (held) this.id = id;
      return held;
    });
  }

  compareAndSet(held: Held | undefined, next: ArbiterRecord): Promise<SwapResult> {
    checkNext(held, next);
    return this.bounded.run('compare and set', async () => {
      const id = await this.makeId();
      const result = await this.add(next);
      this.id = id;
      return result;
    });
  }

  place(): Promise<string> {
    return this.bounded.run('find out which directory it is', () => this.makeId());
  }

  dispose(): void {}

  /**
   * ArbiterAway: this is not the directory that was here. Where nothing is mounted any more there
   * is an empty one, and by that each host would win.
   */
  private async checkId(): Promise<string | undefined> {
    const bytes = await this.io(this.folder.read(ID_FILE, 2 * ID_BYTES + 1));
    const found = bytes && Buffer.from(bytes).toString('latin1').trim();
    if (found !== undefined && !isId(found))
      throw new VmError(`the arbiter '${this.name}' cannot be used: its file 'id' is none of colo`);
    if (this.id !== undefined && found !== this.id)
      throw new ArbiterAway(
        `the arbiter '${this.name}' is away: another directory is there than before: mount it`,
      );
    return found;
  }

  private async makeId(): Promise<string> {
    const fresh = new Uint8Array(ID_BYTES);
    if ((await this.checkId()) === undefined) {
      this.entropy.fill(fresh);
      await this.io(
        this.folder.add(ID_FILE, Buffer.from(`${Buffer.from(fresh).toString('hex')}\n`)),
      );
    }
    const id = await this.checkId();
    if (id !== undefined) return id;
    throw new ArbiterAway(`the arbiter '${this.name}' is away: its file 'id' is not there`);
  }

  private async newest(): Promise<Held | undefined> {
    for (;;) {
      const [term] = await this.terms();
      if (term === undefined) return undefined;
      const file = fileOf(term);
      const bytes = await this.io(this.folder.read(file, RECORD_BYTES_MAX));
      // It was the highest, and others came meanwhile, so many that this one was removed.
      if (bytes === undefined) continue;
      return { record: this.decode(bytes, term), version: file };
    }
  }

  private decode(bytes: Uint8Array, term: number): ArbiterRecord {
    const where = `the record '${this.folder.path}/${fileOf(term)}' cannot be used`;
    try {
      const record = decodeRecord(bytes);
      if (record.term === term) return record;
      throw new VmError(`it is of term ${record.term}: it was copied or renamed by hand`);
    } catch (error) {
      throw asVmError(error).during(where);
    }
  }

  private async add(next: ArbiterRecord): Promise<SwapResult> {
    const file = fileOf(next.term);
    if (!(await this.io(this.folder.add(file, encodeRecord(next))))) return 'lost';
    // A number that was free because it is so old that its file was removed.
    const terms = await this.terms({ changed: true });
    if (terms[0] > next.term) {
      if (terms[0] - next.term < TERMS_KEPT) return 'won';
      await this.io(this.folder.remove(file));
      return 'lost';
    }
    // Room is not what the answer depends on.
    for (const old of terms.slice(TERMS_KEPT))
      await this.folder.remove(fileOf(old)).catch(() => undefined);
    return 'won';
  }

  /** The highest first. */
  private async terms(options?: { changed: boolean }): Promise<number[]> {
    const names = await this.io(this.folder.names(options));
    return names
      .filter(isTerm)
      .map(Number)
      .sort((a, b) => b - a);
  }

  /** A file system that fails may be mounted again: it is away. */
  private io<T>(work: Promise<T>): Promise<T> {
    return work.catch(error => {
      const { message } = asVmError(error);
      throw new ArbiterAway(`the arbiter '${this.name}' is away: ${message}`, { cause: error });
    });
  }
}
