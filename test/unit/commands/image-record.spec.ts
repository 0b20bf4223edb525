/**
 * Goal: what an image knows of its pair can be seen, claimed and cleared, and not while a VM has
 * it. Method: the real command on real files (skipped by name where the addon is not built).
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodePairRecord, type PairRecord } from '../../../src/block/record/pair-record.js';
import { firstRecord } from '../../../src/colo/record.js';
import { NodeFiles } from '../../../src/host/node/files.js';
import { addonBuilt, colo } from '../../support/colo-process.js';

const withAddon = addonBuilt ? test : test.skip;
const dir = mkdtempSync(join(tmpdir(), 'colo-record-'));
const image = join(dir, 'a.img');
const first = firstRecord('0b4ff9f6-7a05-4d6f-9d0c-0d0c6c1f6a01', 'a'.repeat(32));
afterAll(() => rmSync(dir, { recursive: true }));

async function labelled(bytes: Uint8Array): Promise<void> {
  writeFileSync(image, Buffer.alloc(1 << 20));
  const file = await new NodeFiles().open(image, { readOnly: false, lock: 'none' });
  await file.label.write(bytes).finally(() => file.close());
}
const put = (change: Partial<PairRecord>) => labelled(encodePairRecord({ ...first, ...change }));

withAddon('shown, claimed, cleared (skipped where the addon is not built)', async () => {
  await put({ role: 'secondary', state: 'protected' });
  const lines =
    `pair: ${first.pair}\ngeneration: 1, on branch aaaaaaaa\nrole: secondary, ` + `protected\n`;
  expect((await colo(['image', 'record', image])).out).toBe(
    `${lines}bitmap: the image has no bitmap\n`,
  );
  expect((await colo(['image', 'info', image])).out).toContain(lines);
  const claimed = await colo(['image', 'record', image, '--claim', '--json']);
  expect(JSON.parse(claimed.out)).toMatchObject({
    generation: 2,
    role: 'primary',
    state: 'alone',
    history: [first.branch],
  });
  expect((await colo(['image', 'record', image, '--clear'])).out).toBe(
    'no record: it belongs to no pair\n',
  );
  expect(await colo(['image', 'record', image, '--claim'])).toMatchObject({
    code: 1,
    err: expect.stringContaining('has no record: there is nothing to claim'),
  });
});

withAddon(
  'two disks of a guest share a record (skipped where the addon is not built)',
  async () => {
    await put({ state: 'protected' });
    await colo(['image', 'record', image, '--claim']);
    const other = join(dir, 'b.img');
    writeFileSync(other, Buffer.alloc(1 << 20));
    const { out } = await colo(['image', 'record', other, '--as', image]);
    expect(out).toBe((await colo(['image', 'record', image])).out);
    expect(out).toContain('generation: 2');
  },
);

withAddon(
  'half an image is not claimed; one that cannot be read can be cleared (skipped where the ' +
    'addon is not built)',
  async () => {
    await put({ partial: true });
    expect(await colo(['image', 'record', image, '--claim'])).toMatchObject({
      code: 1,
      err: expect.stringContaining('is not whole: nothing can go on from it'),
    });
    await labelled(Buffer.from('{"magic":"colo-pair","version":7}'));
    const shown = await colo(['image', 'record', image]);
    expect([shown.code, shown.err]).toEqual([
      1,
      expect.stringContaining('it has version 7, this colo knows 1'),
    ]);
    expect((await colo(['image', 'info', image])).out).toContain(
      'cannot be used: it has version 7',
    );
    expect((await colo(['image', 'record', image, '--clear'])).code).toBe(0);
  },
);

withAddon('not while somebody writes to it (skipped where the addon is not built)', async () => {
  await put({});
  const file = await new NodeFiles().open(image, { readOnly: false, lock: 'auto' });
  const refused = await colo(['image', 'record', image, '--clear']);
  await file.close();
  expect([refused.code, refused.err]).toEqual([
    1,
    expect.stringContaining('Another program uses the image'),
  ]);
});
