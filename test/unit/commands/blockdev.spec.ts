/**
 * Goal: a disk of -blockdev nodes is a disk like one of -drive, without an id. Method: a whole VM
 * with a guest that writes its disk, started from a command line and asked over QMP and HMP
 * (skipped by name where the addon is not built); qemu-img judges the images where it is installed.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addonBuilt } from '../../support/colo-process.js';
import { DiskGuest, diskGuest, numberAt } from '../../support/disk-guest.js';
import { specOf } from '../../support/spec-of.js';
import { VmInProcess } from '../../support/vm-in-process.js';

const withAddon = addonBuilt ? test : test.skip;
const hasQemuImg = spawnSync('qemu-img', ['--version']).status === 0;
const dir = mkdtempSync(join(tmpdir(), 'colo-blockdev-'));
const path = (name: string) => join(dir, name);
const SECTORS = 64;
const limitMs = 60_000;
let vm: VmInProcess;

beforeAll(() => writeFileSync(path('vmlinuz'), diskGuest({ sectors: SECTORS })));
afterEach(() => vm?.dispose());
afterAll(() => rmSync(dir, { recursive: true }));

const start = async (...options: string[]) =>
  (vm = await VmInProcess.start(
    specOf('primary', ['-m', '32', '-accel', 'soft', '-kernel', path('vmlinuz'), ...options]),
  ));
const raw = (node: string, file = `${node}.img`) => [
  '-blockdev',
  `driver=raw,node-name=${node},file.driver=file,file.filename=${path(file)}`,
];
const image = (name: string, bytes = 1 << 20) => writeFileSync(path(name), Buffer.alloc(bytes));

withAddon(
  'a guest writes it, and the monitor knows it by its device and its node (skipped where the ' +
    'addon is not built)',
  async () => {
    image('d.img');
    await start(...raw('d'), '-device', 'virtio-blk-pci,id=vd0,drive=d,serial=abc');
    await vm.guestWrites(2 * SECTORS);
    expect(await vm.number(DiskGuest.ERRORS)).toBe(0);
    expect(await vm.qmp('query-block')).toMatchObject([
      {
        device: '',
        qdev: 'vd0',
        'io-status': 'ok',
        inserted: { 'node-name': 'd', drv: 'raw', file: path('d.img') },
      },
    ]);
    expect(await vm.qmp('query-blockstats')).toMatchObject([
      { device: '', qdev: 'vd0', 'node-name': 'd' },
    ]);
    expect(await vm.hmp('info block')).toMatch(
      new RegExp(`^d: ${path('d.img')} \\(raw\\), 1048576 bytes\\n {4}Attached to: vd0\\n`),
    );
    await expect(vm.qmp('blockdev-del', { 'node-name': 'd' })).rejects.toThrow(
      "'d' is in use by device 'vd0'",
    );
    await expect(vm.qmp('block_resize', { device: 'nope', size: 1 })).rejects.toThrow(
      "Cannot find device='nope' nor node-name='nope'",
    );
    await vm.qmp('block_resize', { 'node-name': 'd', size: 2 << 20 });
    expect(readFileSync(path('d.img')).length).toBe(2 << 20);
    await vm.qmp('block_set_io_throttle', {
      id: 'vd0',
      bps: 0,
      bps_rd: 0,
      bps_wr: 0,
      iops: 1000,
      iops_rd: 0,
      iops_wr: 0,
    });
    expect(await vm.qmp('query-block')).toMatchObject([{ inserted: { iops: 1000, group: 'vd0' } }]);
    expect(await vm.hmp('block_set_io_throttle d 0 0 0 0 0 0')).toBe('');
    expect(await vm.qmp('query-block')).toMatchObject([{ inserted: { iops: 0 } }]);
    expect(await vm.hmp('info blockstats')).toMatch(/^d: rd_bytes=0 wr_bytes=[1-9]/);
    await vm.qmp('stop');
    const done = await vm.number(DiskGuest.DONE);
    const held = readFileSync(path('d.img'));
    for (let sector = 0; sector < SECTORS; sector++)
      expect(done - numberAt(held, sector)!).toBeLessThanOrEqual(SECTORS);
  },
  limitMs,
);

withAddon(
  'JSON, nodes that refer to nodes, backing in qcow2, and jobs by the name of the node ' +
    '(skipped where the addon is not built)',
  async () => {
    image('base.img');
    spawnSync('qemu-img', ['create', '-q', '-f', 'qcow2', path('top.qcow2'), '1M']);
    if (!hasQemuImg) return console.log('skipped: qemu-img makes the qcow2 image');
    const json = (value: object) => ['-blockdev', JSON.stringify(value)];
    await start(
      ...json({
        driver: 'file',
        'node-name': 'proto',
        filename: path('base.img'),
        'read-only': true,
        cache: { direct: false, 'no-flush': false },
      }),
      ...json({ driver: 'raw', 'node-name': 'base', file: 'proto', 'read-only': true }),
      '-blockdev',
      `driver=file,node-name=topfile,filename=${path('top.qcow2')}`,
      '-blockdev',
      'driver=qcow2,node-name=top,file=topfile,backing=base',
      '-device',
      'virtio-blk-pci,drive=top',
    );
    await vm.guestWrites(SECTORS);
    expect(await vm.hmp(`drive_backup -f top ${path('backup.img')} raw`)).toBe('');
    expect(await vm.event('BLOCK_JOB_COMPLETED')).toMatchObject({ device: 'top' });
    await expect(
      vm.qmp('drive-mirror', {
        device: 'base',
        target: path('copy.img'),
        format: 'raw',
        sync: 'full',
      }),
    ).rejects.toThrow("An explicit job ID is required for node 'base'");
    await vm.qmp('drive-mirror', {
      device: 'top',
      'job-id': 'm0',
      target: path('copy.img'),
      format: 'raw',
      sync: 'full',
      'node-name': 'copy',
    });
    await vm.event('BLOCK_JOB_READY');
    await vm.qmp('block-job-complete', { device: 'm0' });
    await vm.event('BLOCK_JOB_COMPLETED');
    expect(await vm.qmp('query-block')).toMatchObject([
      { device: '', inserted: { 'node-name': 'copy', file: path('copy.img') } },
    ]);
    await vm.guestWrites(2 * SECTORS);
    // The old disk is a node like any other now.
    await vm.qmp('blockdev-del', { 'node-name': 'top' });
    expect(
      ((await vm.qmp('query-named-block-nodes')) as { 'node-name': string }[]).map(
        node => node['node-name'],
      ),
    ).toEqual(expect.not.arrayContaining(['top']));
    await vm.dispose();
    expect(spawnSync('qemu-img', ['check', '-q', path('top.qcow2')]).status).toBe(0);
    expect(readFileSync(path('base.img')).every(byte => byte === 0)).toBe(true);
    expect(numberAt(readFileSync(path('copy.img')), SECTORS - 1)).toBeGreaterThan(0);
  },
  limitMs,
);

withAddon(
  'no room: the guest stands still until there is some, by the word of the device (skipped ' +
    'where the addon is not built)',
  async () => {
    image('full.img');
    const faulty =
      `driver=blkdebug,node-name=bad,image.driver=file,image.filename=${path('full.img')},` +
      'inject-error.0.event=write_aio,inject-error.0.errno=28,inject-error.0.once=on';
    await start(
      '-blockdev',
      faulty,
      '-blockdev',
      'driver=raw,node-name=d,file=bad',
      '-device',
      'virtio-blk-pci,id=vd0,drive=d,werror=stop,rerror=report,write-cache=off',
    );
    expect(await vm.event('BLOCK_IO_ERROR')).toMatchObject({
      device: '',
      'node-name': 'd',
      operation: 'write',
      action: 'stop',
      nospace: true,
    });
    expect(await vm.qmp('query-status')).toMatchObject({ status: 'io-error' });
    expect(await vm.qmp('query-block')).toMatchObject([
      { 'io-status': 'nospace', inserted: { cache: { writeback: false } } },
    ]);
    await vm.qmp('cont');
    await vm.guestWrites(SECTORS);
    expect([
      await vm.number(DiskGuest.ERRORS),
      numberAt(readFileSync(path('full.img')), 0) === undefined,
    ]).toEqual([0, false]);
  },
  limitMs,
);

withAddon(
  'drive_backup -c over a -drive: packed clusters; dirty bitmaps are shown (skipped where the ' +
    'addon is not built)',
  async () => {
    if (!hasQemuImg) return console.log('skipped: qemu-img judges the copy');
    image('d.img');
    await start(
      '-drive',
      `if=none,id=d0,driver=raw,file.filename=${path('d.img')}`,
      '-device',
      'virtio-blk-pci,id=vd0,drive=d0',
    );
    await vm.guestWrites(SECTORS);
    await vm.qmp('block-dirty-bitmap-add', { node: 'd0', name: 'b', granularity: 512 });
    await vm.guestWrites(2);
    await vm.qmp('stop');
    const [{ inserted }] = (await vm.qmp('query-block')) as {
      inserted: { 'dirty-bitmaps': { count: number }[] };
    }[];
    expect(inserted['dirty-bitmaps']).toMatchObject([
      { name: 'b', granularity: 512, recording: true, busy: false, persistent: false },
    ]);
    expect(inserted['dirty-bitmaps'][0].count).toBeGreaterThanOrEqual(1024);
    expect(await vm.hmp('info block -v d0')).toMatch(
      new RegExp(
        `dirty bitmap 'b': [0-9]+ bytes in pieces of 512\\n {4}file: #block2: ` +
          `${path('d.img')} \\(file\\), 1048576 bytes`,
      ),
    );
    expect(await vm.hmp('info block -n #block1')).toMatch(/^#block1: /);
    expect(await vm.hmp('info block nope')).toContain("Error: Device 'nope' not found");
    expect(await vm.hmp(`drive_backup -f -c d0 ${path('b.qcow2')} qcow2`)).toBe('');
    expect(await vm.event('BLOCK_JOB_COMPLETED')).not.toHaveProperty('error');
    for (const [way, value] of [
      ['copy-mode', 'write-blocking'],
      ['unmap', false],
      ['replaces', 'x'],
    ] as const) {
      await expect(
        vm.qmp('drive-mirror', { device: 'd0', target: path('m'), sync: 'full', [way]: value }),
      ).rejects.toThrow(`Parameter '${way}'`);
    }
    const check = spawnSync('qemu-img', ['check', path('b.qcow2')]).stdout.toString();
    expect(check).toMatch(/No errors[^]* (?!0\.00%)[0-9.]+% compressed/);
    expect(
      spawnSync('qemu-img', ['compare', '-f', 'raw', path('d.img'), path('b.qcow2')]).status,
    ).toBe(0);
  },
  limitMs,
);

withAddon(
  'the guest moves elsewhere, its disk by the same name there (skipped where the addon is not ' +
    'built)',
  async () => {
    image('d.img');
    const disk = (node: string) => [
      '-blockdev',
      `driver=raw,node-name=${node},file.driver=file,file.filename=${path('d.img')},` +
        'file.locking=off',
      '-device',
      `virtio-blk-pci,id=vd0,drive=${node}`,
    ];
    const there = await VmInProcess.start(
      specOf('primary', [
        '-m',
        '32',
        '-accel',
        'soft',
        '-incoming',
        `unix:${path('mig')}`,
        ...disk('d'),
      ]),
    );
    try {
      const other = await VmInProcess.start(
        specOf('primary', [
          '-m',
          '32',
          '-accel',
          'soft',
          '-S',
          '-kernel',
          path('vmlinuz'),
          ...disk('e'),
        ]),
      );
      await other.qmp('migrate', { uri: `unix:${path('mig')}` });
      await other.until(
        'the refusal',
        async () => ((await other.qmp('query-migrate')) as { status: string }).status === 'failed',
      );
      expect(await other.qmp('query-migrate')).toMatchObject({
        'error-desc': expect.stringContaining("'e'") as string,
      });
      await other.dispose();
      await start(...disk('d'));
      await vm.guestWrites(SECTORS);
      await vm.qmp('migrate', { uri: `unix:${path('mig')}` });
      await vm.until(
        'the move',
        async () => ((await vm.qmp('query-migrate')) as { status: string }).status === 'completed',
      );
      await there.guestWrites(SECTORS);
      expect(await there.number(DiskGuest.ERRORS)).toBe(0);
    } finally {
      await there.dispose();
    }
  },
  limitMs,
);

withAddon(
  'what cannot be is refused, and nothing stays open (skipped where the addon is not built)',
  async () => {
    image('d.img');
    const two = [
      '-device',
      'virtio-blk-pci,id=vd0,drive=d',
      '-device',
      'virtio-blk-pci,id=vd1,drive=d',
    ];
    await expect(start(...raw('d'), ...two)).rejects.toThrow(
      "node 'd' is already written to by device 'vd0', so device 'vd1' cannot write to it",
    );
    await expect(
      start(
        ...raw('d'),
        '-drive',
        `if=none,id=x,driver=raw,file.driver=raw,file.file.filename=${path('d.img')}`,
      ),
    ).rejects.toThrow('-drive id=x: Failed to get "write" lock');
    await expect(start(...raw('d', 'missing.img'))).rejects.toThrow('-blockdev node-name=d: ');
    await start(...raw('d'), '-device', 'virtio-blk-pci,drive=d');
    await vm.guestWrites(1);
  },
  limitMs,
);
