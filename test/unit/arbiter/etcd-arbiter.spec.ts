/**
 * The arbiter in an etcd. Method: the contract of all arbiters and what a cluster can do to it,
 * over three real members that are killed and paused (skipped by name where etcd is not
 * installed); what only a broken or a wrong server says, over one that a test plays.
 */
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { parseArbiterAddress } from '../../../src/arbiter/address.js';
import { type Arbiter, ArbiterAway } from '../../../src/arbiter/contract.js';
import { openArbiter } from '../../../src/arbiter/open.js';
import { encodeRecord } from '../../../src/arbiter/record.js';
import { nodeHost } from '../../../src/host/node/host.js';
import { arbiterContract, arbiterRecord, raceOfProcesses } from '../../support/arbiter-contract.js';
import { EtcdCluster, etcdInstalled, untilDone } from '../../support/etcd-cluster.js';

const withEtcd = etcdInstalled ? describe : describe.skip;
const open = (address: string) => openArbiter(parseArbiterAddress(address), nodeHost());

let keys = 0;
const freshKey = () => `colo/test-${keys++}`;

withEtcd('three members (skipped where etcd is not installed)', () => {
  let etcd: EtcdCluster;
  const at = (key: string, { timeoutMs = 20_000, endpoints = etcd.endpoints } = {}) =>
    open(`etcd:${endpoints.join(',')},key=${key},timeout=${timeoutMs}`);

  beforeAll(async () => {
    etcd = await EtcdCluster.start(3);
    await untilDone(async () => (await at('colo/ready')).read());
  }, 90_000);
  afterAll(() => etcd.dispose());

  describe('the contract', () => {
    arbiterContract(async () => {
      const key = freshKey();
      return () => at(key);
    });
  });

  test('two processes: each of 100 terms has one winner', async () => {
    await raceOfProcesses(`etcd:${etcd.endpoints.join(',')},key=${freshKey()},timeout=20000`, 100);
  }, 120_000);

  test('a paused or killed member is passed over, and a change has one result', async () => {
    const arbiter = await at(freshKey());
    for (let n = 0; n < 3; n++) {
      etcd.signal(n, 'SIGSTOP');
      const held = await arbiter.read();
      const term = (held?.record.term ?? 0) + 1;
      expect(await arbiter.compareAndSet(held, arbiterRecord({ term }))).toBe('won');
      etcd.signal(n, 'SIGCONT');
      await etcd.kill(n);
      expect((await arbiter.read())?.record.term).toBe(term);
      etcd.run(n);
      await untilDone(async () =>
        (await at('colo/ready', { endpoints: [etcd.endpoints[n]] })).read(),
      );
    }
  }, 120_000);

  test('without a majority it is away in time; afterwards the change is found', async () => {
    const key = freshKey();
    const arbiter = await at(key, { timeoutMs: 1500 });
    expect(await arbiter.compareAndSet(undefined, arbiterRecord())).toBe('won');
    const held = await arbiter.read();
    const next = arbiterRecord({ term: 2, replica: 'beta' });
    for (const n of [1, 2]) etcd.signal(n, 'SIGSTOP');
    const began = performance.now();
    await expect(arbiter.compareAndSet(held, next)).rejects.toThrow(ArbiterAway);
    expect(performance.now() - began).toBeLessThan(4000);
    await expect(arbiter.read()).rejects.toThrow(/is away: no answer within 1500 ms/);
    for (const n of [1, 2]) etcd.signal(n, 'SIGCONT');
    // Whether or not the first sending was carried out: the same change again has won.
    expect(await untilDone(() => arbiter.compareAndSet(held, next))).toBe('won');
    const other = await at(key);
    expect(await other.compareAndSet(held, arbiterRecord({ term: 2, owner: 'beta' }))).toBe('lost');
    expect((await other.read())?.record).toEqual(next);
  }, 60_000);
});

withEtcd('TLS with certificates of clients (skipped where etcd is not installed)', () => {
  let etcd: EtcdCluster;
  beforeAll(async () => (etcd = await EtcdCluster.start(1, { tls: true })));
  afterAll(() => etcd.dispose());

  test('it answers a client that shows one, and no other', async () => {
    const key = `key=${freshKey()},timeout=2000`;
    const known = await open(`etcd:${etcd.endpoints[0]},${key},tls=${etcd.tls}`);
    expect(await untilDone(() => known.compareAndSet(undefined, arbiterRecord()))).toBe('won');
    expect((await known.read())?.record).toEqual(arbiterRecord());
    const stranger = await open(`etcd:${etcd.endpoints[0]},${key}`);
    await expect(stranger.read()).rejects.toThrow(
      /is away: no answer within 2000 ms \(https:.*cert/,
    );
  }, 60_000);
});

describe('a server that is none, or lies', () => {
  const servers: Server[] = [];
  afterEach(() => {
    for (const server of servers.splice(0)) {
      server.closeAllConnections();
      server.close();
    }
  });

  async function play(listener: RequestListener): Promise<string> {
    const server = createServer(listener).listen(0, '127.0.0.1');
    servers.push(server);
    await once(server, 'listening');
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }
  const says =
    (text: string, status = 200): RequestListener =>
    (_, response) => {
      response.statusCode = status;
      response.end(text);
    };
  const header = (cluster: string, revision: string) => ({
    header: { cluster_id: cluster, revision },
  });
  const empty = (cluster = '7', revision = '5') => JSON.stringify(header(cluster, revision));
  const holds = (value: Uint8Array) =>
    JSON.stringify({
      ...header('7', '5'),
      kvs: [
        {
          key: Buffer.from('k').toString('base64'),
          value: Buffer.from(value).toString('base64'),
          mod_revision: '4',
        },
      ],
    });
  const arbiterAt = (...urls: string[]): Promise<Arbiter> =>
    open(`etcd:${urls.join(',')},key=k,timeout=400`);

  test.each([
    ['what it answers is not of an etcd v3', 'hello', 200],
    ['what it answers is not of an etcd v3', '{"header":{}}', 200],
    ['what it answers is not of an etcd v3', '{"header":{"cluster_id":7,"revision":"1"}}', 200],
    ['HTTP status 404', 'Not Found', 404],
    ['HTTP status 503: etcdserver: no leader', '{"error":"etcdserver: no leader"}', 503],
    ['more than 65536 bytes', 'x'.repeat(70_000), 200],
  ])('%s: it is away', async (why, text, status) => {
    const arbiter = await arbiterAt(await play(says(text, status)));
    await expect(arbiter.read()).rejects.toThrow(ArbiterAway);
    await expect(arbiter.read()).rejects.toThrow(why);
  });

  test('one that is silent, late or gone is passed over for one that answers', async () => {
    const silent = await play(() => undefined);
    const drip = await play((_, response) => void response.write('{'));
    const gone = await play(says(''));
    servers.pop()!.close();
    const good = await play(says(empty()));
    expect(await (await arbiterAt(silent, good)).read()).toBeUndefined();
    expect(await (await arbiterAt(drip, good)).read()).toBeUndefined();
    expect(await (await arbiterAt(gone, good)).read()).toBeUndefined();
    await expect((await arbiterAt(silent, drip)).read()).rejects.toThrow(/no answer within 400 ms/);
  });

  test('a change whose answer was lost is found by the next member that is asked', async () => {
    const next = arbiterRecord();
    const found = (value: Uint8Array) => {
      const { header: head, kvs } = JSON.parse(holds(value)) as Record<string, unknown>;
      return JSON.stringify({ header: head, responses: [{ response_range: { kvs } }] });
    };
    const silent = await play(() => undefined);
    const mine = await play(says(found(encodeRecord(next))));
    expect(await (await arbiterAt(silent, mine)).compareAndSet(undefined, next)).toBe('won');
    const other = await play(says(found(encodeRecord({ ...next, owner: 'beta' }))));
    expect(await (await arbiterAt(silent, other)).compareAndSet(undefined, next)).toBe('lost');
  });

  test('endpoints of two clusters are refused, whichever answers', async () => {
    let fails = false;
    const first = await play((request, response) =>
      says(fails ? '' : empty('7'), fails ? 503 : 200)(request, response),
    );
    const arbiter = await arbiterAt(first, await play(says(empty('8'))));
    await arbiter.read();
    fails = true;
    await expect(arbiter.read()).rejects.toThrow(
      /cannot be believed: http:.* belongs to cluster 8, http:.* to 7/,
    );
  });

  test('an etcd that knows less than before is refused', async () => {
    let revision = '9';
    const arbiter = await arbiterAt(
      await play((request, response) => says(empty('7', revision))(request, response)),
    );
    await arbiter.read();
    revision = '8';
    await expect(arbiter.read()).rejects.toThrow(/answers with revision 8, where 9 was there/);
  });

  test('a record that was edited is refused, and the arbiter not called away', async () => {
    const text = encodeRecord(arbiterRecord()).toString().replace('alpha', 'gamma');
    const arbiter = await arbiterAt(await play(says(holds(Buffer.from(text)))));
    await expect(arbiter.read()).rejects.toThrow(
      /^the record at key 'k' cannot be used: its checksum is wrong/,
    );
    await expect(arbiter.read()).rejects.not.toThrow(ArbiterAway);
  });
});
