/**
 * An arbiter in the simulation, moved by the seed: its store answers late, is away from one host or
 * both, loses an answer after the change was made, carries a change out after it was given up, and
 * has one host read what was there before.
 */
import {
  type Arbiter,
  ArbiterAway,
  checkNext,
  type Held,
  type SwapResult,
} from '../../../src/arbiter/contract.js';
import type { ArbiterRecord } from '../../../src/arbiter/record.js';
import type { SimNode } from './node.js';
import type { World } from './world.js';

export class SimArbiterStore {
  /** Every record that was ever held, the newest last. */
  readonly history: ArbiterRecord[] = [];
  /** Of all answers. */
  loseAnswers = 0;
  delayMs: readonly [min: number, max: number] = [0.2, 5];
  private readonly cutOff = new Set<string>();
  private readonly stale = new Map<string, number>();

  constructor(readonly world: World) {}

  /** From and to this node nothing comes through. */
  away(node: string, away: boolean): void {
    if (away) this.cutOff.add(node);
    else this.cutOff.delete(node);
    this.world.note('arbiter', `${away ? 'away from' : 'in reach of'} ${node}`);
  }

  /** What this node reads from now on is what there was now; a change is made to what there is. */
  stopsReading(node: string, stale: boolean): void {
    if (stale) this.stale.set(node, this.history.length);
    else this.stale.delete(node);
    this.world.note('arbiter', `${node} reads ${stale ? 'from a member that is cut off' : 'all'}`);
  }

  open(node: SimNode, timeoutMs: number): Arbiter {
    return new SimArbiter(this, node, timeoutMs);
  }

  /** As that node sees it. */
  current(node?: string): Held | undefined {
    const length = this.stale.get(node ?? '') ?? this.history.length;
    const record = this.history[length - 1];
    return record && { record, version: String(length) };
  }

  swap(version: string | undefined, next: ArbiterRecord): SwapResult {
    if (version !== this.current()?.version) return 'lost';
    this.history.push(next);
    const { term, owner, inStep } = next;
    this.world.note('arbiter', `term ${term}: ${owner}${inStep ? ', in step' : ''}`);
    return 'won';
  }

  /** Later, if it gets there: what is on its way when a node is cut off still arrives. */
  carry(from: string, to: 'there' | 'back', fn: () => void): void {
    const { random } = this.world;
    if (to === 'there' && this.cutOff.has(from)) return;
    if (to === 'back' && random.chance(this.loseAnswers)) return;
    this.world.after(random.between(...this.delayMs), () => {
      if (to === 'there' || !this.cutOff.has(from)) fn();
    });
  }
}

class SimArbiter implements Arbiter {
  readonly name = 'sim:';
  readonly keeps = 'shared';

  constructor(
    private readonly store: SimArbiterStore,
    private readonly node: SimNode,
    private readonly timeoutMs: number,
  ) {}

  read(): Promise<Held | undefined> {
    return this.ask(() => this.store.current(this.node.name));
  }

  compareAndSet(held: Held | undefined, next: ArbiterRecord): Promise<SwapResult> {
    checkNext(held, next);
    return this.ask(() => this.store.swap(held?.version, next));
  }

  dispose(): void {}

  private ask<T>(question: () => T): Promise<T> {
    const { store, node } = this;
    return new Promise((resolve, reject) => {
      const timer = node.clock.timer(this.timeoutMs, () =>
        reject(new ArbiterAway(`the arbiter 'sim:' is away: nothing in ${this.timeoutMs} ms`)),
      );
      store.carry(node.name, 'there', () => {
        const answer = question();
        store.carry(node.name, 'back', () => {
          node.deliver('input', () => {
            timer.dispose();
            resolve(answer);
          });
        });
      });
    });
  }
}
