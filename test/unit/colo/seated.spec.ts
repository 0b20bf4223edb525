/** What a side says of its arbiter: its name on this host, and its place as far as it is known. */
import { VmError } from '../../../src/base/errors.js';
import { ArbiterAway } from '../../../src/arbiter/contract.js';
import type { ColoPorts } from '../../../src/colo/contract.js';
import { seated } from '../../../src/colo/seated.js';
import { FileArbiter } from '../../../src/arbiter/file-arbiter.js';
import { nodeHost } from '../../../src/host/node/host.js';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

type Place = (() => Promise<string>) | undefined;
const seat = { arbiter: 'file:/mnt/a', node: 'alpha', peer: 'beta' };
const shown = async (place: Place) => {
  const arbiter = { arbiter: { place }, node: 'alpha', peer: 'beta' };
  const ports = { lifecycle: { manifest: () => ({ seat }) }, arbiter } as unknown as ColoPorts;
  return (await seated(ports)).seat;
};

test('known, away, or without one', async () => {
  expect(await shown(async () => '1')).toEqual({ ...seat, place: '1' });
  expect(await shown(undefined)).toEqual(seat);
  expect(await shown(() => Promise.reject(new ArbiterAway('away')))).toEqual(seat);
  await expect(shown(() => Promise.reject(new VmError('planted')))).rejects.toThrow('planted');
  const none = { lifecycle: { manifest: () => ({}) } } as unknown as ColoPorts;
  expect(await seated(none)).toEqual({});
});

test('one directory, mounted at two places, is the same to both sides', async () => {
  const { clock, entropy, folders } = nodeHost();
  const top = mkdtempSync(join(tmpdir(), 'seated-'));
  symlinkSync('.', join(top, 'there'));
  try {
    const at = (dir: string) => {
      const arbiter = new FileArbiter(folders.open(dir), clock, entropy, 5000);
      return () => arbiter.place();
    };
    const [here, there] = [await shown(at(top)), await shown(at(join(top, 'there')))];
    expect([here, there]).toEqual([there, { ...seat, place: expect.stringMatching(/^\w{32}$/) }]);
  } finally {
    rmSync(top, { recursive: true });
  }
});
