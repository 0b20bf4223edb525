/**
 * Prints changes of the pair's state on the VM's own terminal, because no monitor may be connected
 * when they happen.
 */
import { healthOf, type FailoverLine, pairNews, verdict } from './health.js';
import type { Vm } from '../vm/vm.js';
import type { PairStanding } from '../qapi/types.js';

/** A takeover may be through before anything could be said of it. */
const inColo: readonly PairStanding[] = ['protected', 'lost', 'taking-over', 'handing-over'];

export class PairTeller {
  private told: PairStanding | undefined;

  constructor(
    /** What lets this side go on, as its user can type it. */
    private readonly failover: FailoverLine,
    private readonly say: (line: string) => void,
  ) {}

  changed(vm: Vm): void {
    const health = healthOf(vm);
    if (health.pair === this.told) return;
    const before = this.told;
    this.told = health.pair;
    if (health.pair === 'alone' && before !== undefined && inColo.includes(before)) {
      return this.say(`COLO: the guest goes on here; ${verdict(health, this.failover).text}`);
    }
    const news = ['lost', 'broken', 'superseded'].includes(health.pair);
    // A primary from a pair definition says that by itself, with more.
    const ready = health.pair === 'protected' && health.role === 'secondary';
    if (news || ready) for (const line of pairNews(health, this.failover)) this.say(line);
  }
}
