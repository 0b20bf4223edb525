/** One run: the faults of a seed come over a pair that is protected, and it has to be so again. */
import { setTimeout as pause } from 'node:timers/promises';
import { type HostName, otherHost } from './hosts.js';
import { described, type PairFault, placeOf, type PlannedFault } from './plan.js';
import type { UnattendedPair } from './unattended.js';

const POLL_MS = 50;
/** Until a side is on its way to be in step again. */
const REJOIN_MS = 20_000;
/** Nothing is lost, and nothing is going to be. */
const WELL_MS = 1500;

type Struck = Extract<PairFault, { kind: 'kill' }>['what'];

export interface Trial {
  readonly seed: number;
  /** What was done, in order; of what would have taken the only copy of the guest: not done. */
  readonly faults: readonly string[];
  readonly violations: readonly string[];
  readonly takeovers: number;
  /** The longest wait of the client. */
  readonly outageMs: number;
  /** From the end of the last fault to both sides in step. */
  readonly protectedMs: number;
}

export interface TrialOptions {
  readonly seed: number;
  readonly plan: readonly PlannedFault[];
  /** Protected again, after the last fault is over. */
  readonly withinMs: number;
  tell(line: string): void;
}

/** An error is a violation too. */
export async function trial(pair: UnattendedPair, options: TrialOptions): Promise<Trial> {
  const { seed, plan, withinMs } = options;
  const faults: string[] = [];
  const result = { seed, faults, takeovers: 0, protectedMs: 0 };
  pair.mark();
  const blows = new Blows(pair, line => {
    faults.push(line);
    options.tell(line);
  });
  try {
    const before = await pair.ownerChanges();
    try {
      for (const [n, planned] of plan.entries()) await blows.strike(planned, n === 0);
    } finally {
      await blows.over();
    }
    const { owner, tookMs } = await pair.untilProtected(withinMs);
    const takeovers = (await pair.ownerChanges()) - before;
    const violations = await pair.judge(owner, takeovers);
    return { ...result, violations, takeovers, protectedMs: tookMs, outageMs: pair.outageMs };
  } catch (error) {
    const violations = [(error as Error).message, ...pair.wrongSoFar()];
    return { ...result, violations, outageMs: pair.outageMs };
  }
}

class Blows {
  private readonly underWay: Promise<void>[] = [];

  constructor(
    private readonly pair: UnattendedPair,
    private readonly tell: (line: string) => void,
  ) {}

  async strike(planned: PlannedFault, first: boolean): Promise<void> {
    if (planned.phase === 'rejoining') await this.untilRejoining();
    await pause(planned.afterMs);
    const owner = await this.pair.owner();
    const { fault } = planned;
    if (fault.kind === 'etcd') {
      this.tell(described(planned));
      return this.begin(this.member(fault));
    }
    if (owner === undefined && !first) return this.tell(`not done: ${described(planned)}`);
    const at = placeOf(fault.place, owner ?? 'a');
    const spared = !first && (await this.isOnlyCopy(at, fault));
    this.tell(`${spared ? 'not done: ' : ''}${described(planned)} (${at})`);
    if (!spared) this.begin(this.on(at, fault));
  }

  /** Everything is as before, and has been undone. */
  async over(): Promise<void> {
    await Promise.all(this.underWay);
  }

  private begin(work: Promise<void>): void {
    this.underWay.push(work);
    work.catch(() => undefined);
  }

  /**
   * A pair bears the loss of one copy of its guest. Where the record does not say that the other
   * side has one alone, what kills a VM might take the last.
   */
  private async isOnlyCopy(at: HostName, fault: PairFault): Promise<boolean> {
    if (fault.kind !== 'kill' || fault.what === 'supervisor') return false;
    const [record, owner] = [await this.pair.record(), await this.pair.owner()];
    return !record || record.inStep || owner !== otherHost(at);
  }

  /** A side loads its first state, or the pair has borne the fault and is as it was. */
  private async untilRejoining(): Promise<void> {
    const began = performance.now();
    let wellSinceMs = began;
    for (let now = began; now < began + REJOIN_MS; now = performance.now()) {
      const lines = await Promise.all(Object.values(this.pair.hosts).map(host => host.look()));
      if (lines.some(line => line?.pair === 'joining')) return;
      if (!lines.every(line => line?.pair === 'protected')) wellSinceMs = performance.now();
      if (performance.now() - wellSinceMs > WELL_MS) return;
      await pause(POLL_MS);
    }
  }

  private async on(at: HostName, fault: Exclude<PairFault, { kind: 'etcd' }>): Promise<void> {
    const host = this.pair.hosts[at];
    switch (fault.kind) {
      case 'kill':
        return this.kill(at, fault);
      case 'stop':
        return this.stop(at, fault);
      case 'cut':
        host.cut(fault.cut);
        await pause(fault.ms);
        return host.mend(fault.cut);
      case 'alone': {
        const cuts = (['migration', 'nbd', 'arbiter'] as const).map(link => ({
          link,
          way: 'both' as const,
        }));
        for (const cut of cuts) host.cut(cut);
        await pause(fault.ms);
        for (const cut of cuts) host.mend(cut);
        return;
      }
      case 'narrow':
        host.narrow(fault.link, true);
        await pause(fault.ms);
        return host.narrow(fault.link, false);
      case 'slow-disk':
        host.freeze(fault.ms);
        return pause(fault.ms);
      case 'full-disk':
        host.fill(true);
        await pause(fault.ms);
        host.fill(false);
        return this.goOnAt(at);
    }
  }

  private async kill(
    at: HostName,
    { what, backMs }: Extract<PairFault, { kind: 'kill' }>,
  ): Promise<void> {
    const host = this.pair.hosts[at];
    await this.signal(at, what, 'SIGKILL');
    if (what === 'vm') return;
    await host.supervisorGone;
    await pause(backMs);
    if (!host.supervised) host.start(this.pair.file);
  }

  private async stop(
    at: HostName,
    { what, ms }: Extract<PairFault, { kind: 'stop' }>,
  ): Promise<void> {
    await this.signal(at, what, 'SIGSTOP');
    await pause(ms);
    for (const wake of ['signalSupervisor', 'signalVm'] as const)
      this.pair.hosts[at][wake]('SIGCONT');
  }

  /** What is not there cannot be struck, and a run that struck nothing proves less: it is said. */
  private async signal(at: HostName, what: Struck, signal: NodeJS.Signals): Promise<void> {
    const host = this.pair.hosts[at];
    if (what !== 'supervisor') await host.look();
    const missed = [
      ...(what === 'vm' || host.signalSupervisor(signal) ? [] : ['supervisor']),
      ...(what === 'supervisor' || host.signalVm(signal) ? [] : ['VM']),
    ];
    for (const which of missed) this.tell(`not done: ${signal}, ${at} has no ${which}`);
  }

  private async member({ how, member, ms }: Extract<PairFault, { kind: 'etcd' }>): Promise<void> {
    const { etcd } = this.pair;
    if (how === 'stop') {
      etcd.signal(member, 'SIGSTOP');
      await pause(ms);
      return etcd.signal(member, 'SIGCONT');
    }
    await etcd.kill(member);
    await pause(ms);
    etcd.run(member);
  }

  /** What a full disk asks of a person: room, and `cont`. All else comes by itself. */
  private async goOnAt(at: HostName): Promise<void> {
    const host = this.pair.hosts[at];
    if ((await host.look())?.state === 'io-error') await host.order('cont').catch(() => undefined);
  }
}
