/**
 * Goal: after many checkpoints of which most pages went as what changed, the secondary has the
 * guest's memory. Method: real processes, and a guest that writes one number after the other into
 * two words of each of its pages, in their order: at any moment the words before some place are
 * one more than those behind it. The primary is killed (skipped by name where the addon is not
 * built).
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addonBuilt, colo, ColoProcess } from '../../support/colo-process.js';
import { fakeKernel } from '../../support/fake-kernel.js';
import { Assembler } from '../../support/toy-guest.js';

const withAddon = addonBuilt ? test : test.skip;
const dir = mkdtempSync(join(tmpdir(), 'colo-packed-'));
const env = { XDG_RUNTIME_DIR: dir };
const config = join(dir, 'toy.yaml');
const first = 0x80_0000;
const pages = 400;
const PAGE = 4096;
const started: ColoProcess[] = [];

afterEach(() => started.splice(0).forEach(({ child }) => child.kill('SIGKILL')));
afterAll(() => rmSync(dir, { recursive: true }));

function guest(): Buffer {
  const a = new Assembler(0).raw(0x31, 0xed); // xor ebp, ebp
  const round = a.here;
  a.raw(0xff, 0xc5).movEbx(first).movEcx(pages); // inc ebp
  const page = a.here;
  a.raw(0x89, 0x2b, 0x89, 0xab, 0, 8, 0, 0); // mov [rbx], ebp; mov [rbx+2048], ebp
  a.raw(0x48, 0x81, 0xc3, 0, 0x10, 0, 0, 0xff, 0xc9, 0x75); // add rbx, 4096; dec ecx; jnz
  return Buffer.from(
    a
      .raw((page - (a.here + 1)) & 0xff)
      .jumpTo(round)
      .code(),
  );
}

function define(): void {
  const at = (name: string) => `unix:${join(dir, name)}`;
  writeFileSync(join(dir, 'vmlinuz'), fakeKernel({ code: guest() }));
  writeFileSync(
    config,
    `name: toy\nmemory: 32M\naccel: soft\nkernel: vmlinuz\ncheckpoint-delay: 50\npeer: ` +
      `{migration: "${at('mig')}", nbd: "${at('nbd')}", wait: 100}\ndisks:\n  - {primary: ` +
      `p.img, secondary: s.qcow2, active: a.qcow2, hidden: h.qcow2, format: qcow2, size: 4M}\n`,
  );
}

function start(role: 'primary' | 'secondary'): ColoProcess {
  const side = new ColoProcess([role, '--config', config], { env });
  started.push(side);
  return side;
}

interface Statistics {
  checkpoints: number;
  bytesPerDirtyByte: number;
  cacheHitRate: number;
}

withAddon(
  'a takeover after checkpoints of changes (skipped where the addon is not built)',
  async () => {
    define();
    const secondary = start('secondary');
    const primary = start('primary');
    await primary.says('protected by ');
    const monitor = await primary.qmp(join(dir, 'colo', 'toy-primary', 'qmp'));
    let seen: Statistics | undefined;
    await primary.until('40 checkpoints', async () => {
      const status = (await monitor.execute('query-colo-status', undefined, 5000)) as {
        statistics?: Statistics;
      };
      return ((seen = status.statistics)?.checkpoints ?? 0) > 40;
    });
    expect(seen!.cacheHitRate).toBeGreaterThan(0.8);
    expect(seen!.bytesPerDirtyByte).toBeLessThan(0.1);
    expect(await monitor.hmp('info colo', 5000)).toMatch(/sent for each dirty byte: 0\.0/);
    monitor.dispose();
    primary.child.kill('SIGKILL');
    await secondary.says('COLO');
    expect((await colo(['failover', 'toy-secondary', '--yes'], { env })).code).toBe(0);
    const survivor = await secondary.qmp(join(dir, 'colo', 'toy-secondary', 'qmp'));
    await survivor.hmp('stop', 5000);
    const words: number[] = [];
    for (let page = 0; page < pages; page++)
      for (const offset of [0, 2048]) {
        const text = await survivor.hmp(`xp/1xw ${first + page * PAGE + offset}`, 5000);
        words.push(Number(/: (0x[0-9a-f]{8})\n$/.exec(text)![1]));
      }
    const place = words.findIndex(word => word !== words[0]);
    const behind = place < 0 ? 0 : words.length - place;
    expect(words[0]).toBeGreaterThan(40);
    expect(words).toEqual([
      ...Array<number>(words.length - behind).fill(words[0]),
      ...Array<number>(behind).fill(words[0] - 1),
    ]);
    survivor.dispose();
  },
  180_000,
);
