/**
 * `exec:COMMAND`: a fence agent. Each side keeps a record of its own; a change that takes the guest
 * from the other side has the command switch that side off first, and is made when it says that it
 * is. Both may have the other switched off at the same time: then none goes on, and never two.
 */
import { asVmError } from '../base/errors.js';
import type { Clock, Entropy, Programs, RecordFolder } from '../host/ports.js';
import { type Arbiter, ArbiterAway, checkNext, type Held, type SwapResult } from './contract.js';
import { FileArbiter } from './file-arbiter.js';
import type { ArbiterRecord } from './record.js';

export interface ExecOptions {
  readonly command: string;
  /** Of the command. */
  readonly timeoutMs: number;
}

/** This host's own disk. */
const RECORD_TIMEOUT_MS = 5000;

export class ExecArbiter implements Arbiter {
  readonly name: string;
  readonly keeps = 'own';
  private readonly record: FileArbiter;

  constructor(
    private readonly programs: Programs,
    folder: RecordFolder,
    clock: Clock,
    entropy: Entropy,
    private readonly options: ExecOptions,
  ) {
    this.name = `exec:${options.command}`;
    this.record = new FileArbiter(folder, clock, entropy, RECORD_TIMEOUT_MS);
  }

  read(): Promise<Held | undefined> {
    return this.record.read();
  }

  async compareAndSet(held: Held | undefined, next: ArbiterRecord): Promise<SwapResult> {
    checkNext(held, next);
    const peer = held && overtaken(held.record, next);
    if (peer !== undefined) await this.fence(peer, next);
    return this.record.compareAndSet(held, next);
  }

  dispose(): void {
    this.record.dispose();
  }

  private async fence(peer: string, { vm, owner, term }: ArbiterRecord): Promise<void> {
    const { command, timeoutMs } = this.options;
    const words = { COLO_PEER: peer, COLO_NODE: owner, COLO_VM: vm, COLO_TERM: String(term) };
    await this.programs.command(command, words, timeoutMs).catch((error: unknown) => {
      const { message } = asVmError(error);
      throw new ArbiterAway(`the fence agent does not say that '${peer}' is off: ${message}`, {
        cause: error,
      });
    });
  }
}

/** The node that must be off before this is so; undefined: none has a right to the guest. */
export function overtaken(now: ArbiterRecord, next: ArbiterRecord): string | undefined {
  // A replica that notes that it is in step takes nothing.
  if (next.owner !== now.owner) return next.inStep ? undefined : now.owner;
  return now.inStep && !(next.inStep && next.replica === now.replica) ? now.replica : undefined;
}
