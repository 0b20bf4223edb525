/**
 * Goal: COLO covers disks of -blockdev nodes as it covers those of -drive, and a guest that stands
 * still for want of room on the primary goes on with its request on the secondary. Method: two
 * whole VMs of this process, a guest that numbers its writes, nodes on both sides, failover
 * (skipped by name where the addon is not built).
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addonBuilt } from '../../support/colo-process.js';
import { DiskGuest, diskGuest, numberAt } from '../../support/disk-guest.js';
import { specOf } from '../../support/spec-of.js';
import { VmInProcess } from '../../support/vm-in-process.js';

const withAddon = addonBuilt ? test : test.skip;
const dir = mkdtempSync(join(tmpdir(), 'colo-blockdev-pair-'));
const path = (name: string) => join(dir, name);
const SECTORS = 64;
const FULL_AT = 40;
const limitMs = 60_000;
const vms: VmInProcess[] = [];

beforeAll(() => writeFileSync(path('vmlinuz'), diskGuest({ sectors: SECTORS })));
// New inodes: what is only overwritten still knows the pair that it belongs to.
beforeEach(() => {
  for (const name of ['p.img', 's.img']) {
    rmSync(path(name), { force: true });
    writeFileSync(path(name), Buffer.alloc(1 << 20));
  }
});
afterEach(async () => {
  for (const vm of vms.splice(0)) await vm.dispose();
});
afterAll(() => rmSync(dir, { recursive: true }));

const quorum = 'driver=quorum,node-name=disk0,read-pattern=fifo,vote-threshold=1,children.0=local';
const common = ['-m', '32', '-accel', 'soft', '-kernel', path('vmlinuz')];

/** disk: the nodes of the primary; the last is the guest's, and called disk0. */
async function pair(disk: string[]): Promise<{ primary: VmInProcess; secondary: VmInProcess }> {
  const secondary = await VmInProcess.start(
    specOf('secondary', [
      ...common,
      '-incoming',
      `unix:${path('mig')}`,
      '-blockdev',
      `driver=raw,node-name=colo-disk0,file.driver=file,file.filename=${path('s.img')}`,
      '-blockdev',
      JSON.stringify({
        driver: 'replication',
        mode: 'secondary',
        'node-name': 'active-disk0',
        'top-id': 'active-disk0',
        file: { driver: 'memory', backing: { driver: 'memory', backing: 'colo-disk0' } },
      }),
      '-device',
      'virtio-blk-pci,id=vd0,drive=active-disk0',
    ]),
  );
  vms.push(secondary);
  await secondary.qmp('nbd-server-start', { addr: { type: 'unix', data: { path: path('nbd') } } });
  await secondary.qmp('nbd-server-add', { device: 'colo-disk0', writable: true });
  const primary = await VmInProcess.start(
    specOf('primary', [
      ...common,
      '-S',
      ...disk.flatMap(node => ['-blockdev', node]),
      '-device',
      'virtio-blk-pci,id=vd0,drive=disk0,werror=stop',
    ]),
  );
  vms.push(primary);
  await primary.qmp('blockdev-add', {
    driver: 'replication',
    mode: 'primary',
    'node-name': 'replica',
    file: { driver: 'nbd', path: path('nbd'), export: 'colo-disk0' },
  });
  if (disk.includes(quorum))
    await primary.qmp('x-blockdev-change', { parent: 'disk0', node: 'replica' });
  await primary.qmp('migrate-set-capabilities', {
    capabilities: [{ capability: 'x-colo', state: true }],
  });
  await primary.qmp('migrate-set-parameters', { 'x-checkpoint-delay': 20 });
  await primary.qmp('migrate', { uri: `unix:${path('mig')}` });
  await primary.until('COLO', async () => {
    const { status, 'error-desc': why } = (await primary.qmp('query-migrate')) as {
      status: string;
      'error-desc'?: string;
    };
    if (status === 'failed') throw new Error(why);
    return ((await primary.qmp('query-vm')) as { protected: boolean }).protected;
  });
  return { primary, secondary };
}

const checkpoints = async (vm: VmInProcess) =>
  Number(/checkpoints: *([0-9]+)/.exec(await vm.hmp('info colo'))?.[1]);

async function failOver({
  primary,
  secondary,
}: {
  primary: VmInProcess;
  secondary: VmInProcess;
}): Promise<void> {
  await primary.dispose();
  await secondary.event('COLO_EXIT');
  await secondary.qmp('x-colo-lost-heartbeat');
  await secondary.until(
    'the guest',
    async () => ((await secondary.qmp('query-status')) as { status: string }).status === 'running',
  );
}

/**
 * The image is what a guest left that never stumbled: every sector holds one of its last SECTORS
 * writes.
 */
async function expectWhole(vm: VmInProcess, image: string): Promise<void> {
  await vm.qmp('stop');
  const [done, errors] = [await vm.number(DiskGuest.DONE), await vm.number(DiskGuest.ERRORS)];
  const bytes = readFileSync(path(image));
  expect(errors).toBe(0);
  for (let sector = 0; sector < SECTORS; sector++) {
    const last = done - 1 - ((done - 1 - sector) % SECTORS);
    // The one under way when it stopped may be there already.
    expect([last, last + SECTORS]).toContain(numberAt(bytes, sector));
  }
}

withAddon(
  'protected, taken over, and whole afterwards (skipped where the addon is not built)',
  async () => {
    const both = await pair([
      `driver=raw,node-name=local,file.driver=file,file.filename=${path('p.img')}`,
      quorum,
    ]);
    const { primary, secondary } = both;
    await primary.qmp('cont').catch(() => primary.qmp('cont'));
    await primary.guestWrites(3 * SECTORS);
    expect(await primary.qmp('query-block')).toMatchObject([
      { device: '', qdev: 'vd0', inserted: { 'node-name': 'disk0', drv: 'quorum' } },
    ]);
    await expect(
      primary.qmp('block_resize', { 'node-name': 'disk0', size: 1 << 21 }),
    ).rejects.toThrow("'disk0' is in use by COLO");
    await expect(
      primary.qmp('drive-backup', {
        device: 'disk0',
        'job-id': 'b',
        target: path('b.img'),
        sync: 'full',
      }),
    ).rejects.toThrow("no block job can work: device 'vd0' is in use by COLO");
    await failOver(both);
    await secondary.guestWrites(2 * SECTORS);
    await expectWhole(secondary, 's.img');
  },
  limitMs,
);

withAddon(
  'the primary stands still without room, and dies: the secondary tries the request again, on ' +
    'its own disk (skipped where the addon is not built)',
  async () => {
    const bad =
      `driver=blkdebug,node-name=bad,image.driver=file,image.filename=${path('p.img')},` +
      'inject-error.0.event=write_aio,inject-error.0.errno=28,inject-error.0.iotype=write,' +
      `inject-error.0.sector=${FULL_AT}`;
    const both = await pair([bad, 'driver=raw,node-name=local,file=bad', quorum]);
    const { primary, secondary } = both;
    await primary.qmp('cont').catch(() => primary.qmp('cont'));
    expect(await primary.event('BLOCK_IO_ERROR')).toMatchObject({
      device: '',
      action: 'stop',
      nospace: true,
    });
    await primary.until(
      'io-error',
      async () => ((await primary.qmp('query-status')) as { status: string }).status === 'io-error',
    );
    const [done, before] = [await primary.number(DiskGuest.DONE), await checkpoints(primary)];
    expect(done).toBe(FULL_AT);
    // It stays protected as it stands there.
    await primary.until(
      'a checkpoint of the guest that stands still',
      async () => (await checkpoints(primary)) > before + 1,
    );
    expect([await primary.number(DiskGuest.DONE), await primary.qmp('query-vm')]).toMatchObject([
      done,
      { protected: true },
    ]);
    await failOver(both);
    await secondary.guestWrites(2 * SECTORS);
    await expectWhole(secondary, 's.img');
  },
  limitMs,
);

withAddon(
  'a writable node that is not replicated is named (skipped where the addon is not built)',
  async () => {
    await expect(pair(['driver=memory,node-name=disk0,size=1M'])).rejects.toThrow(
      "the secondary refused: disk 'disk0' of the primary is not replicated here",
    );
  },
  limitMs,
);
