/** What a side says of its arbiter: the place that it knows, else what this host calls it. */
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
  return (await seated(ports)).seat?.arbiter;
};

test('known, away, or without one', async () => {
  expect(await shown(async () => 'file: (directory 1)')).toBe('file: (directory 1)');
  expect(await shown(undefined)).toBe('file:/mnt/a');
  expect(await shown(() => Promise.reject(new ArbiterAway('away')))).toBe('file:/mnt/a');
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
    expect([here, there]).toEqual([there, expect.stringMatching(/^file: \(directory \w{32}\)$/)]);
  } finally {
    rmSync(top, { recursive: true });
  }
});
