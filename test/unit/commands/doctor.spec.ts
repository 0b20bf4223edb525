/**
 * Goal: the doctor does what it says it checks, and each complaint says what to do. Method: the
 * real host; a port that is taken, a peer that is not there.
 */
import { createServer } from 'node:net';
import { existsSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { examineHost, openFiles } from '../../../src/commands/doctor/checks.js';
import { runTinyGuest } from '../../../src/commands/doctor/tiny-guest.js';

const built = existsSync(new URL('../../../native/build/Release/colo.node', import.meta.url));
const withAddon = built ? test : test.skip;

withAddon('code runs on the CPU (skipped where the addon is not built)', () => {
  expect(runTinyGuest()).toBe(3n);
});

withAddon('memory, ports and the peer (skipped where the addon is not built)', async () => {
  const server = createServer(socket => socket.destroy()).unref();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', () => resolve()));
  const { port } = server.address() as AddressInfo;
  const wish = {
    ramBytes: 1 << 20,
    ports: [port],
    portsAsked: true,
    peer: { kind: 'tcp', host: '127.0.0.1', port } as const,
  };
  const there = await examineHost(wish);
  const of = (findings: typeof there, check: string) =>
    findings.find(f => f.check === check)?.result;
  expect([
    of(there, 'cpu'),
    of(there, 'memory'),
    of(there, `port ${port}`),
    of(there, 'peer'),
  ]).toEqual(['ok', 'ok', 'fail', 'ok']);
  await new Promise(resolve => server.close(resolve));
  const gone = await examineHost({ ...wish, ramBytes: 2 ** 50 });
  expect([of(gone, 'memory'), of(gone, `port ${port}`), of(gone, 'peer')]).toEqual([
    'fail',
    'ok',
    'fail',
  ]);
  for (const finding of [...there, ...gone])
    expect(finding.advice === '').toBe(finding.result === 'ok');
});

test('limits', () => {
  expect(
    openFiles('Max open files            256                  4096                 files\n'),
  ).toMatchObject({ result: 'warn', detail: '256 open files' });
  expect(
    openFiles('Max open files            unlimited            unlimited            files\n').result,
  ).toBe('ok');
});
