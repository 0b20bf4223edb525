/**
 * One side's questions to its arbiter, each asked until there is an answer: an arbiter that is away
 * costs time and decides nothing. What the answers mean is arbitration.ts's.
 */
import { asVmError, VmError } from '../base/errors.js';
import type { Clock } from '../host/ports.js';
import { mayTakeOver } from './arbitration.js';
import { type Arbiter, ArbiterAway, type Held, requireVm } from './contract.js';
import { type ArbiterRecord, sameRecord } from './record.js';

/** given-up: who asked does not want to know any more. */
export type RefereeVerdict = 'won' | 'lost' | 'given-up';

export interface RefereeSide {
  readonly arbiter: Arbiter;
  readonly clock: Clock;
  /** This side, as the record names it. */
  readonly node: string;
  readonly vm: string;
  /** Between two attempts. */
  readonly retryMs: number;
  /** A line for people. */
  report(line: string): void;
}

/** What the record should become; undefined: it forbids that. */
type Wish = (now: ArbiterRecord | undefined) => Omit<ArbiterRecord, 'vm' | 'term'> | undefined;

export class Referee {
  private told: string | undefined;

  constructor(private readonly parts: RefereeSide) {}

  /** What is there. VmError: it cannot be used. ArbiterAway: it is not known now. */
  async look(): Promise<ArbiterRecord | undefined> {
    const { arbiter, vm } = this.parts;
    return requireVm(await arbiter.read(), vm, arbiter.name)?.record;
  }

  /**
   * This side is the owner and no replica is in step, on a branch that this begins. Always written:
   * an earlier request of this node may still be on its way, and only a newer term makes it void.
   */
  claim(branch: string, wanted?: () => boolean): Promise<RefereeVerdict> {
    const alone = this.alone(branch);
    return this.settle(now => (!now || now.owner === this.parts.node ? alone : undefined), wanted);
  }

  /**
   * Both sides ended in order, with one content: either may begin, on a branch of its own, and the
   * other one not after it. held: the branch of that content.
   */
  begin(held: string, branch: string, wanted?: () => boolean): Promise<RefereeVerdict> {
    const alone = this.alone(branch);
    const asker = { node: this.parts.node, branch: held };
    return this.settle(now => (!now || mayTakeOver(now, asker) ? alone : undefined), wanted);
  }

  /** The replica of the owner, on its branch, holds a whole state, and all output waits for it. */
  async confirm(replica: string, branch: string, wanted?: () => boolean): Promise<RefereeVerdict> {
    const { node } = this.parts;
    if (replica === node) throw new VmError(`both sides of the pair call themselves '${node}'`);
    const led = { branch, owner: node, replica, inStep: true };
    return this.settle(now => (now?.owner === node ? led : undefined), wanted);
  }

  /** held: the branch of the whole state that is here. branch: what a takeover begins. */
  bid(held: string, branch: string, wanted?: () => boolean): Promise<RefereeVerdict> {
    const { node } = this.parts;
    const taken = this.alone(branch);
    const asker = { node, branch: held };
    return this.settle(now => (now && mayTakeOver(now, asker) ? taken : undefined), wanted);
  }

  /**
   * A replica that keeps a record of its own notes there that it is in step. Where both sides share
   * one, its owner has written it.
   */
  async note(owner: string, branch: string, wanted?: () => boolean): Promise<RefereeVerdict> {
    const { arbiter, node } = this.parts;
    if (arbiter.keeps === 'shared') return 'won';
    return this.settle(() => ({ branch, owner, replica: node, inStep: true }), wanted);
  }

  /** An operator has decided, who keeps the other side off until this is written. */
  order(branch: string, wanted?: () => boolean): Promise<RefereeVerdict> {
    const alone = this.alone(branch);
    return this.settle(() => alone, wanted);
  }

  private alone(branch: string) {
    return { branch, owner: this.parts.node, replica: undefined, inStep: false };
  }

  /** VmError: the record cannot be used, and nothing is taken over. */
  private async settle(wish: Wish, wanted: () => boolean = () => true): Promise<RefereeVerdict> {
    const { arbiter, clock, vm, retryMs } = this.parts;
    const tried: ArbiterRecord[] = [];
    while (wanted()) {
      try {
        const held = requireVm(await arbiter.read(), vm, arbiter.name);
        this.answered();
        // A change of ours, carried out after its answer was given up.
        if (held && tried.some(record => sameRecord(record, held.record))) return 'won';
        const next = wish(held?.record);
        if (next === undefined) return 'lost';
        if (!wanted()) break;
        const record = { ...next, vm, term: termAfter(held) };
        tried.push(record);
        if ((await arbiter.compareAndSet(held, record)) === 'won') return 'won';
      } catch (error) {
        if (!(error instanceof ArbiterAway)) throw error;
        this.tell(asVmError(error).message);
        await new Promise<void>(resolve => void clock.timer(retryMs, resolve));
      }
    }
    return 'given-up';
  }

  private tell(message: string): void {
    if (this.told === message) return;
    this.told = message;
    this.parts.report(`${message}; it is asked again`);
  }

  private answered(): void {
    if (this.told !== undefined)
      this.parts.report(`the arbiter '${this.parts.arbiter.name}' answers`);
    this.told = undefined;
  }
}

const termAfter = (held: Held | undefined) => (held?.record.term ?? 0) + 1;
