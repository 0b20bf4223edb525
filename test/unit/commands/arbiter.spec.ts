/** `colo arbiter`. Method: the real command, over a directory with and without a record. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeRecord } from '../../../src/arbiter/record.js';
import { encodePairRecord } from '../../../src/block/record/pair-record.js';
import { firstRecord } from '../../../src/colo/record.js';
import { NodeFiles } from '../../../src/host/node/files.js';
import { arbiterRecord } from '../../support/arbiter-contract.js';
import { addonBuilt, colo } from '../../support/colo-process.js';

const dir = mkdtempSync(join(tmpdir(), 'colo-arbiter-'));
afterAll(() => rmSync(dir, { recursive: true }));
const show = (...more: string[]) => colo(['arbiter', `file:${dir}`, ...more]);

test('the record in lines, as JSON, and that there is none', async () => {
  expect((await show()).out).toBe('no record: no pair has formed there\n');
  expect(JSON.parse((await show('--json')).out)).toEqual({ record: null });
  const record = arbiterRecord({ replica: 'beta', inStep: true });
  writeFileSync(join(dir, '0000000000000001'), encodeRecord(record));
  expect((await show()).out).toBe(
    `vm: ${record.vm}\nterm: 1, on branch 01234567\nowner: alpha\n` +
      'replica: beta, in step\nif alpha is lost: beta takes over\n',
  );
  expect(JSON.parse((await show('--json')).out)).toEqual({ record });
});

const withAddon = addonBuilt ? test : test.skip;
withAddon('an operator decides (skipped where the addon is not built)', async () => {
  const image = join(dir, 'a.img');
  writeFileSync(image, Buffer.alloc(1 << 20));
  const order = (node: string) =>
    colo(['arbiter', `file:${dir}`, '--owner', node, '--image', image]);
  expect((await order('beta')).err).toContain('has no record: it belongs to no pair');
  const first = firstRecord(arbiterRecord().vm, 'a'.repeat(32));
  const file = await new NodeFiles().open(image, { readOnly: false, lock: 'none' });
  await file.label.write(encodePairRecord(first)).finally(() => file.close());
  const away = await colo([
    'arbiter',
    'file:/none/of/it',
    '--owner',
    'beta',
    '--image',
    image,
    '--wait',
    '1',
  ]);
  expect([away.code, away.err]).toEqual([
    1,
    expect.stringContaining('the arbiter has not taken the decision within 1 s'),
  ]);
  expect((await order('no node')).err).toContain("'no node' is not the name of a node");
  expect((await order('beta')).out).toBe(
    `vm: ${first.pair}\nterm: 2, on branch aaaaaaaa\nowner: beta\nreplica: none\n` +
      'if beta is lost: the guest waits for it\n',
  );
});

test('what cannot be read is a sentence', async () => {
  expect((await colo(['arbiter', 'file:/none/of/it'])).err).toContain(
    "the arbiter 'file:/none/of/it' is away: Could not list '/none/of/it': No such file",
  );
  expect((await colo(['arbiter', 'ftp:/x'])).err).toContain("unknown arbiter: 'ftp:/x'");
});
