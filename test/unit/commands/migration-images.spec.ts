/**
 * Goal: while a guest migrates, one process at a time can write its images: the source gives the
 * locks up before `go`, the destination runs with them, and who fails leaves them to the other.
 * Method: two whole VMs of this process on one image, with a guest that writes it (skipped by name
 * where the addon is not built); between them a wire that does what it is told when `go` comes by.
 */
import { createServer, connect, type Server, type Socket } from 'node:net';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkQcow2 } from '../../../src/block/drivers/qcow2/check.js';
import { defaultCreateOptions } from '../../../src/block/drivers/qcow2/create.js';
import { readHeader } from '../../../src/block/drivers/qcow2/image.js';
import { createImage, openImage, withFile } from '../../../src/block/image/open.js';
import { nodeHost } from '../../../src/host/node/host.js';
import type { OpenFile } from '../../../src/host/ports.js';
import { encodeFrame } from '../../../src/migration/frames.js';
import { transferCodec, transferKinds } from '../../../src/migration/messages.js';
import { addonBuilt } from '../../support/colo-process.js';
import { DiskGuest, diskGuest, numberAt } from '../../support/disk-guest.js';
import { specOf } from '../../support/spec-of.js';
import { VmInProcess } from '../../support/vm-in-process.js';

const withAddon = addonBuilt ? test : test.skip;
const dir = mkdtempSync(join(tmpdir(), 'colo-images-'));
const path = (name: string) => join(dir, name);
const SECTORS = 64;
const limitMs = 60_000;
const open: VmInProcess[] = [];
const strangers: OpenFile[] = [];
const wires: Server[] = [];

beforeAll(() => writeFileSync(path('vmlinuz'), diskGuest({ sectors: SECTORS })));
beforeEach(() => writeFileSync(path('d.img'), Buffer.alloc(1 << 20)));
afterEach(async () => {
  for (const vm of open.splice(0)) await vm.dispose();
  for (const file of strangers.splice(0)) await file.close();
  for (const wire of wires.splice(0)) wire.close();
});
afterAll(() => rmSync(dir, { recursive: true }));

async function start(image: string, ...more: string[]): Promise<VmInProcess> {
  const format = image.endsWith('.qcow2') ? 'qcow2' : 'raw';
  const disk = `file=${path(image)},format=${format},id=d0,if=virtio`;
  const guest = ['-m', '32', '-accel', 'soft', '-kernel', path('vmlinuz')];
  const vm = await VmInProcess.start(specOf('primary', [...guest, '-drive', disk, ...more]));
  open.push(vm);
  return vm;
}

/** Another process that wants to write the image. */
async function stranger(image = 'd.img'): Promise<OpenFile> {
  const file = await nodeHost().files.open(path(image), { readOnly: false, lock: 'auto' });
  strangers.push(file);
  return file;
}
const taken = (image = 'd.img') => `Failed to get "write" lock on '${path(image)}'`;

type Migration = { status: string; 'error-desc'?: string };
async function migrate(source: VmInProcess, to: string): Promise<Migration> {
  await source.qmp('migrate', { uri: `unix:${path(to)}` });
  let info: Migration = { status: 'none' };
  const over = async () => {
    info = (await source.qmp('query-migrate')) as Migration;
    return info.status === 'completed' || info.status === 'failed';
  };
  await source.until('the migration is over', over);
  return info;
}
const stateOf = async (vm: VmInProcess) =>
  ((await vm.qmp('query-status')) as { status: string }).status;
const writes = async (vm: VmInProcess) => {
  await vm.guestWrites(2);
  expect(await vm.number(DiskGuest.ERRORS)).toBe(0);
};

/** All goes through but `go`. */
function wire(from: string, to: string, atGo: (source: Socket) => Promise<void>): Promise<void> {
  const go = encodeFrame(transferKinds.go, Buffer.alloc(0));
  const server = createServer(source => {
    const there = connect(path(to));
    there.pipe(source);
    source.on('data', data => {
      if (!data.equals(go)) return void there.write(data);
      there.unpipe(source);
      there.destroy();
      void atGo(source);
    });
    for (const end of [source, there]) end.on('error', () => undefined);
  });
  wires.push(server);
  return new Promise(resolve => server.listen(path(from), resolve));
}
const gaveUp = transferCodec('destination').encode({ type: 'error', text: 'no' });

withAddon(
  'both have the image; the guest goes on there, and back (skipped where the addon is not built)',
  async () => {
    const source = await start('d.img');
    await writes(source);
    const there = await start('d.img', '-incoming', `unix:${path('m1')}`);
    await expect(stranger()).rejects.toThrow(taken());
    expect(await migrate(source, 'm1')).toMatchObject({ status: 'completed' });
    await writes(there);
    await expect(source.qmp('cont')).rejects.toThrow('the guest went on elsewhere');
    // The source has no part in it any more: neither its end nor its own will changes that.
    await source.dispose();
    await expect(stranger()).rejects.toThrow(taken());
    const back = await start('d.img', '-incoming', 'defer', '-S');
    await back.qmp('migrate-incoming', { uri: `unix:${path('m2')}` });
    expect(await migrate(there, 'm2')).toMatchObject({ status: 'completed' });
    await there.dispose();
    await back.until('it is there', async () => (await stateOf(back)) === 'paused');
    await expect(stranger()).rejects.toThrow(taken());
    const done = await back.number(DiskGuest.DONE);
    expect(numberAt(readFileSync(path('d.img')), (done - 1) % SECTORS)).toBe(done - 1);
    await back.qmp('cont');
    await writes(back);
  },
  limitMs,
);

withAddon(
  'an image that another has there: the guest goes on here (skipped without the addon)',
  async () => {
    writeFileSync(path('copy.img'), Buffer.alloc(1 << 20));
    const source = await start('d.img');
    const there = await start('copy.img', '-incoming', `unix:${path('m3')}`);
    const other = await stranger('copy.img');
    expect((await migrate(source, 'm3'))['error-desc']).toContain(taken('copy.img'));
    expect([await stateOf(source), await stateOf(there)]).toEqual(['running', 'inmigrate']);
    await writes(source);
    await expect(stranger()).rejects.toThrow(taken());
    await other.close();
    strangers.length = 0;
    expect(await migrate(source, 'm3')).toMatchObject({ status: 'completed' });
    await writes(there);
    expect(await stateOf(source)).toBe('postmigrate');
  },
  limitMs,
);

withAddon(
  'nothing writes there before, and an export locks first (skipped without the addon)',
  async () => {
    const source = await start('d.img');
    const there = await start('d.img', '-incoming', `unix:${path('m4')}`);
    await expect(there.qmp('block_resize', { device: 'd0', size: 1 << 21 })).rejects.toThrow(
      "is not this process's to write while the guest is elsewhere",
    );
    await there.qmp('nbd-server-start', { addr: { type: 'unix', data: { path: path('nbd') } } });
    await expect(there.qmp('nbd-server-add', { device: 'd0', writable: true })).rejects.toThrow(
      taken(),
    );
    await source.dispose();
    await expect(there.qmp('nbd-server-add', { device: 'd0', writable: true })).rejects.toThrow(
      "already written to by drive 'd0'",
    );
    await expect(stranger()).rejects.toThrow(taken());
  },
  limitMs,
);

withAddon(
  'the last word is lost: cont locks first, or is refused (skipped without the addon)',
  async () => {
    const source = await start('d.img');
    await start('d.img', '-incoming', `unix:${path('m5')}`);
    await wire('w5', 'm5', async link => void link.destroy());
    expect((await migrate(source, 'w5'))['error-desc']).toContain('look there before a cont here');
    const other = await stranger();
    await expect(source.qmp('cont')).rejects.toThrow(taken());
    expect(await stateOf(source)).toBe('postmigrate');
    await other.close();
    strangers.length = 0;
    await source.qmp('cont');
    await writes(source);
    await expect(stranger()).rejects.toThrow(taken());
  },
  limitMs,
);

withAddon(
  'given up there, and no image here: the guest stands still (skipped without the addon)',
  async () => {
    const source = await start('d.img');
    await start('d.img', '-incoming', `unix:${path('m6')}`);
    await wire('w6', 'm6', async link => {
      await stranger();
      link.write(gaveUp);
    });
    const text = (await migrate(source, 'w6'))['error-desc'];
    expect(text).toContain('the other side gave up: no; the guest stands still here until a cont');
    expect(text).toContain(taken());
    expect(await stateOf(source)).toBe('postmigrate');
    await expect(source.qmp('cont')).rejects.toThrow(taken());
    for (const file of strangers.splice(0)) await file.close();
    await source.qmp('cont');
    await writes(source);
  },
  limitMs,
);

withAddon(
  'a saved state takes the images when it is loaded (skipped without the addon)',
  async () => {
    const source = await start('d.img');
    await writes(source);
    await source.qmp('migrate', { uri: `file:${path('state')}` });
    await source.until('it is saved', async () => (await stateOf(source)) === 'postmigrate');
    const done = await source.number(DiskGuest.DONE);
    await expect(start('d.img', '-incoming', `file:${path('state')}`)).rejects.toThrow(taken());
    const later = await start('d.img', '-S', '-incoming', 'defer');
    const load = () => later.hmp(`migrate_incoming file:${path('state')}`);
    const info = async () => (await later.qmp('query-migrate')) as Migration;
    await load();
    await later.until('it is refused', async () => (await info()).status === 'failed');
    expect((await info())['error-desc']).toContain(taken());
    expect(await stateOf(later)).toBe('inmigrate');
    await source.dispose();
    await load();
    await later.until('it is loaded', async () => (await stateOf(later)) === 'paused');
    await expect(stranger()).rejects.toThrow(taken());
    expect(await later.number(DiskGuest.DONE)).toBe(done);
    await later.qmp('cont');
    await writes(later);
  },
  limitMs,
);

withAddon(
  'a qcow2 image goes there and back, with what both have written (skipped without the addon)',
  async () => {
    const host = nodeHost();
    const options = { ...defaultCreateOptions, size: 1 << 20, clusterSize: 512 };
    await createImage(host, path('q.qcow2'), 'qcow2', options);
    const source = await start('q.qcow2');
    const there = await start('q.qcow2', '-incoming', `unix:${path('m7')}`);
    // Clusters that were not there when the destination opened the image.
    await writes(source);
    expect(await migrate(source, 'm7')).toMatchObject({ status: 'completed' });
    await writes(there);
    const back = await start('q.qcow2', '-incoming', 'defer', '-S');
    await back.qmp('migrate-incoming', { uri: `unix:${path('m8')}` });
    await source.dispose();
    expect(await migrate(there, 'm8')).toMatchObject({ status: 'completed' });
    await there.dispose();
    await back.until('it is there', async () => (await stateOf(back)) === 'paused');
    await expect(stranger('q.qcow2')).rejects.toThrow(taken('q.qcow2'));
    await back.qmp('cont');
    await writes(back);
    await back.qmp('stop');
    const done = await back.number(DiskGuest.DONE);
    await back.dispose();
    const image = await openImage(host, path('q.qcow2'), { readOnly: true });
    for (let n = Math.max(0, done - SECTORS); n < done; n++) {
      const sector = await image.node.pread((n % SECTORS) * 512, 512);
      expect(numberAt(sector, 0)).toBe(n);
    }
    await image.close();
    const { corruptions, leaks } = await withFile(host, path('q.qcow2'), true, async file =>
      checkQcow2(file, await readHeader(file)),
    );
    expect([corruptions, leaks]).toEqual([0, 0]);
  },
  limitMs,
);
