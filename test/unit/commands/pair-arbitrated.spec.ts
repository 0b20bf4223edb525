/**
 * Goal: a pair with a real arbiter goes on, and is a pair again, without a person; while the
 * arbiter is away both sides keep what they have. Method: supervisors and VMs as processes, an etcd
 * of three members that are stopped, and a fence agent that kills what it is told to (skipped by
 * name where the addon is not built, or etcd is not installed).
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArbiterAddress } from '../../../src/arbiter/address.js';
import { openArbiter } from '../../../src/arbiter/open.js';
import type { ArbiterRecord } from '../../../src/arbiter/record.js';
import { nodeHost } from '../../../src/host/node/host.js';
import { addonBuilt, colo, expectDone, type ColoProcess } from '../../support/colo-process.js';
import { EtcdCluster, etcdInstalled, untilDone } from '../../support/etcd-cluster.js';
import { SupervisedPair } from '../../support/supervised-pair.js';

const withEtcd = addonBuilt && etcdInstalled ? describe : describe.skip;
const withAddon = addonBuilt ? test : test.skip;
const limitMs = 400_000;
let pair: SupervisedPair | undefined;
afterEach(async () => pair?.dispose());

withEtcd('etcd: (skipped where the addon is not built, or etcd not installed)', () => {
  let etcd: EtcdCluster;
  let address: string;
  let a: ColoProcess;
  let b: ColoProcess;

  beforeEach(async () => {
    etcd = await EtcdCluster.start(3);
    address = `etcd:${etcd.endpoints.join(',')},key=colo/toy,timeout=1000`;
    await untilDone(record);
    pair = new SupervisedPair(() => [`arbiter: "${address}"`]);
    [b, a] = [pair.run('b'), pair.run('a')];
    await pair.protectedOn('a');
    // A replica that the record does not call in step yet may not take over.
    const inStep = { owner: 'toy-primary', replica: 'toy-secondary', inStep: true };
    await untilDone(async () => expect(await record()).toMatchObject(inStep));
  }, limitMs);
  afterEach(() => etcd.dispose());

  async function record(): Promise<ArbiterRecord | undefined> {
    const arbiter = await openArbiter(parseArbiterAddress(address), nodeHost());
    return (await arbiter.read())?.record;
  }
  /** Two of three members. */
  const away = (on: boolean) => [1, 2].forEach(n => etcd.signal(n, on ? 'SIGSTOP' : 'SIGCONT'));

  test(
    'either VM is killed, with a member of the etcd, and it is a pair again',
    async () => {
      await etcd.kill(0);
      await pair!.signal('a', 'SIGKILL');
      await pair!.protectedOn('b');
      const owned = { owner: 'toy-secondary', replica: 'toy-primary', inStep: true };
      await untilDone(async () => expect(await record()).toMatchObject(owned));
      await etcd.kill(1);
      etcd.run(0);
      await pair!.signal('b', 'SIGKILL');
      await pair!.protectedOn('a');
    },
    limitMs,
  );

  test(
    'it is away: a replica waits with what it has, and takes over when it answers',
    async () => {
      away(true);
      await pair!.signal('a', 'SIGKILL');
      await pair!.until('b', { pair: 'lost' });
      await b.says('is away: no answer within 1000 ms');
      expect(await pair!.look('b')).toMatchObject({ state: 'inmigrate', pair: 'lost' });
      expect(b.err).not.toContain('has this side go on');
      away(false);
      await pair!.protectedOn('b');
      expect(b.err).toContain(`the arbiter 'etcd:${etcd.endpoints[0]}`);
      expect(a.err).toContain('the other side has the guest');
    },
    limitMs,
  );

  test(
    'it is away: an owner holds its output; then the replica that slept gives way and follows',
    async () => {
      away(true);
      const pid = await pair!.signal('b', 'SIGSTOP');
      await pair!.until('a', { pair: 'lost', state: 'running' });
      await a.says('is away: no answer within 1000 ms');
      const held = await colo(['status', 'toy-primary'], { env: pair!.env });
      expect(held.out).toContain('lost');
      expect(await pair!.look('a')).toMatchObject({ pair: 'lost' });
      away(false);
      await pair!.until('a', { pair: 'alone', state: 'running' });
      process.kill(pid, 'SIGCONT');
      await pair!.protectedOn('a');
    },
    limitMs,
  );

  test(
    'it is away, and an operator decides: it hears of that when it answers',
    async () => {
      away(true);
      await pair!.signal('a', 'SIGKILL');
      await pair!.until('b', { pair: 'lost' });
      expectDone(await colo(['failover', 'toy-secondary', '--yes'], { env: pair!.env }));
      await pair!.until('b', { pair: 'alone', state: 'running' });
      away(false);
      await untilDone(async () => expect((await record())?.owner).toBe('toy-secondary'));
      await pair!.protectedOn('b');
    },
    limitMs,
  );
});

withAddon(
  'exec: the agent kills a side that hangs, and only then the other goes on (skipped where the ' +
    'addon is not built)',
  async () => {
    pair = new SupervisedPair(dir => {
      const agent = join(dir, 'fence');
      writeFileSync(agent, FENCE);
      chmodSync(agent, 0o755);
      for (const side of ['a', 'b']) mkdirSync(join(dir, `seat-${side}`));
      const seat = (side: string, node: string, peer: string) =>
        `{options: ["-arbiter exec:${agent},dir=${join(dir, `seat-${side}`)},node=toy-${node},` +
        `peer=toy-${peer}"]}`;
      return [
        `primary: ${seat('a', 'primary', 'secondary')}`,
        `secondary: ${seat('b', 'secondary', 'primary')}`,
      ];
    });
    const jammed = join(pair.dir, 'jammed');
    writeFileSync(jammed, '');
    const b = pair.run('b');
    const a = pair.run('a');
    await pair.protectedOn('a');
    const pid = await pair.signal('a', 'SIGSTOP');
    await b.says("the fence agent does not say that 'toy-primary' is off");
    expect(await pair.look('b')).toMatchObject({ pair: 'lost', state: 'inmigrate' });
    expect(isAlive(pid)).toBe(true);
    rmSync(jammed);
    await pair.until('b', { pair: 'alone', state: 'running' });
    expect(isAlive(pid)).toBe(false);
    expect(await a.exited).toBe(null);
    pair.run('a');
    await pair.protectedOn('b');
  },
  limitMs,
);

/** One that is over has no words, even while it waits to be buried. */
const isAlive = (pid: number) =>
  existsSync(`/proc/${pid}`) && readFileSync(`/proc/${pid}/cmdline`, 'latin1') !== '';

/** All of the other host: what supervises there, too. */
const FENCE = `#!/bin/sh
dir=$(dirname "$0")
[ ! -e "$dir/jammed" ] || { echo the power switch does not answer >&2; exit 1; }
case $COLO_PEER in toy-primary) side=a ;; *) side=b ;; esac
for p in /proc/[0-9]*; do
  words=$(tr '\\0' ' ' <$p/cmdline 2>/dev/null) || continue
  case $words in *"$dir/toy.yaml --side $side "*) kill -9 \${p#/proc/} ;; esac
done
exit 0
`;
