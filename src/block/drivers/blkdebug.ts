/**
 * Driver `blkdebug`: passes everything on, and fails requests as its rules say. An event that
 * happens above (a format tells its file of them) makes its rules active; an active rule fails the
 * requests that it matches, until another event's rules take its place.
 */
import { event, tracer } from '../../base/trace.js';
import type { Clock } from '../../host/ports.js';
import type { DebugEvent } from '../contract/debug-event.js';
import type { BlkdebugRules, InjectError, IoType } from '../options/blkdebug-rules.js';
import { type BlockDriver, type BlockStatus, SECTOR } from '../contract/driver.js';
import { ioError } from '../contract/io-error.js';
import type { BlockNode } from '../contract/node.js';

const trace = tracer('blkdebug', {
  event: event<{ event: string; state: number }>(),
  inject: event<{ type: string; offset: number; length: number }>(),
});

export class BlkdebugDriver implements BlockDriver {
  readonly format = 'blkdebug';
  private state = 1;
  private injecting: InjectError[] = [];
  private readonly errors: Set<InjectError>;

  constructor(
    private readonly image: BlockNode,
    private readonly rules: BlkdebugRules,
    private readonly clock: Clock,
    readonly readOnly: boolean,
  ) {
    this.errors = new Set(rules.injectError);
    this.debugEvent('none');
  }

  get length(): number {
    return this.image.length;
  }

  get maxTransfer(): number | undefined {
    return this.image.driver.maxTransfer;
  }

  debugEvent(event: DebugEvent): void {
    const here = (rule: { event: DebugEvent; state: number }) =>
      rule.event === event && (rule.state === 0 || rule.state === this.state);
    const raised = [...this.errors].filter(here);
    const next = this.rules.setState.filter(here).at(-1)?.newState;
    if (raised.length > 0) this.injecting = raised;
    if (raised.length > 0 || next !== undefined)
      trace.event?.({ event, state: next ?? this.state });
    if (next !== undefined) this.state = next;
  }

  async pread(offset: number, length: number): Promise<Buffer> {
    await this.pass('read', offset, length);
    return this.image.pread(offset, length);
  }

  async pwrite(offset: number, data: Uint8Array, fua: boolean): Promise<void> {
    await this.pass('write', offset, data.length);
    await this.image.pwrite(offset, data, fua);
  }

  async flush(): Promise<void> {
    await this.pass('flush');
    await this.image.flush();
  }

  async discard(offset: number, length: number): Promise<void> {
    await this.pass('discard', offset, length);
    await this.image.discard(offset, length);
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    await this.pass('write-zeroes', offset, length);
    await this.image.writeZeroes(offset, length);
  }

  resize(length: number): Promise<void> {
    return this.image.resize(length);
  }

  blockStatus(offset: number, length: number): Promise<BlockStatus> {
    return this.image.blockStatus(offset, length);
  }

  async close(): Promise<void> {
    // the graph closes children
  }

  describe() {
    return { state: this.state, rules: this.errors.size + this.rules.setState.length };
  }

  /** Throws if an active rule matches. A flush touches no sector. */
  private async pass(type: IoType, offset = 0, length = 0): Promise<void> {
    const touches = (sector: number) =>
      offset < (sector + 1) * SECTOR && sector * SECTOR < offset + length;
    const rule = this.injecting.find(
      r =>
        (r.iotype === undefined || r.iotype === type) &&
        (r.sector === undefined || touches(r.sector)),
    );
    if (!rule) return;
    if (rule.once) {
      this.injecting = this.injecting.filter(other => other !== rule);
      this.errors.delete(rule);
    }
    trace.inject?.({ type, offset, length });
    if (!rule.immediately) await new Promise<void>(resolve => this.clock.timer(0, resolve));
    throw ioError(rule.code, `blkdebug: ${type} at ${offset}: injected ${rule.code}`);
  }
}
