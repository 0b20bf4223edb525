/**
 * Goal: -cdrom is a drive whose medium a user changes by QMP and HMP, and not within COLO or a
 * migration. Method: a whole VM that does not run, asked over its monitor (skipped by name where
 * the addon is not built).
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addonBuilt } from '../../support/colo-process.js';
import { diskGuest } from '../../support/disk-guest.js';
import { specOf } from '../../support/spec-of.js';
import { VmInProcess } from '../../support/vm-in-process.js';

const withAddon = addonBuilt ? test : test.skip;
const dir = mkdtempSync(join(tmpdir(), 'colo-cdrom-'));
const path = (name: string) => join(dir, name);
let vm: VmInProcess;

beforeAll(() => {
  writeFileSync(path('vmlinuz'), diskGuest({ sectors: 8 }));
  // Not whole blocks: the rest reads as zero.
  writeFileSync(path('a.iso'), Buffer.alloc(5000, 1));
  writeFileSync(path('b.iso'), Buffer.alloc(8192, 2));
});
afterEach(() => vm?.dispose());
afterAll(() => rmSync(dir, { recursive: true }));

const start = async (...options: string[]) =>
  (vm = await VmInProcess.start(
    specOf('primary', ['-m', '32', '-accel', 'soft', '-S', '-kernel', path('vmlinuz'), ...options]),
  ));
const drive = async () => ((await vm.qmp('query-block')) as Record<string, unknown>[])[0];
const moved = (open: boolean) => ({ device: 'ide1-cd0', id: 'ide-cd2', 'tray-open': open });

withAddon(
  'the medium is taken out and changed, by both monitors (skipped where the addon is not built)',
  async () => {
    await start('-cdrom', path('a.iso'));
    expect(await drive()).toMatchObject({
      device: 'ide1-cd0',
      qdev: 'ide-cd2',
      removable: true,
      locked: false,
      tray_open: false,
      inserted: { ro: true, file: path('a.iso') },
    });
    expect(await vm.hmp('info block')).toContain(
      '    Attached to: ide-cd2\n    Removable device: not locked, tray closed\n',
    );
    await vm.hmp('eject ide1-cd0');
    expect(await vm.event('DEVICE_TRAY_MOVED')).toEqual(moved(true));
    expect(await drive()).toMatchObject({ tray_open: true });
    expect(await drive()).not.toHaveProperty('inserted');
    expect(await vm.hmp('info block')).toContain(
      'ide1-cd0: [not inserted]\n    Attached to: ide-cd2\n' +
        '    Removable device: not locked, tray open',
    );
    await vm.hmp(`change ide1-cd0 ${path('b.iso')} raw retain`);
    expect(await vm.event('DEVICE_TRAY_MOVED')).toEqual(moved(false));
    expect(await drive()).toMatchObject({ tray_open: false, inserted: { file: path('b.iso') } });
    await vm.qmp('eject', { device: 'ide1-cd0', force: true });
    await vm.qmp('blockdev-change-medium', { id: 'ide-cd2', filename: path('a.iso') });
    expect(await drive()).toMatchObject({ tray_open: false, inserted: { file: path('a.iso') } });
    await vm.qmp('blockdev-open-tray', { id: 'ide-cd2' });
    await vm.qmp('blockdev-remove-medium', { id: 'ide-cd2' });
    const file = { driver: 'file', filename: path('b.iso') };
    await vm.qmp('blockdev-add', { driver: 'raw', 'node-name': 'iso', 'read-only': true, file });
    await vm.qmp('blockdev-insert-medium', { id: 'ide-cd2', 'node-name': 'iso' });
    await vm.qmp('blockdev-close-tray', { device: 'ide1-cd0' });
    expect(await drive()).toMatchObject({ tray_open: false, inserted: { 'node-name': 'iso' } });
  },
);

withAddon('what is refused, with a sentence (skipped where the addon is not built)', async () => {
  await start('-drive', 'if=ide,media=cdrom,id=cd0');
  expect(await vm.hmp('change vnc passwd x')).toContain('of VNC only the password is changed');
  await expect(vm.qmp('eject')).rejects.toThrow("Either 'device' or 'id' must be specified");
  await expect(vm.qmp('eject', { device: 'cd0', id: 'ide-cd0' })).rejects.toThrow('in conflict');
  const change = { id: 'ide-cd0', filename: path('a.iso') };
  await expect(
    vm.qmp('blockdev-change-medium', { ...change, 'read-only-mode': 'read-write' }),
  ).rejects.toThrow('a CD-ROM is read-only');
  await expect(vm.qmp('blockdev-remove-medium', { id: 'ide-cd0' })).rejects.toThrow(
    "Tray of device 'ide-cd0' is not open",
  );
  const { colo } = vm.vm;
  Object.defineProperty(colo.migration, 'busy', { value: true, configurable: true });
  await expect(vm.qmp('blockdev-change-medium', change)).rejects.toThrow(
    "the medium of 'ide-cd0' stays as it is in a migration",
  );
  Object.defineProperty(colo, 'mode', { value: 'primary', configurable: true });
  await expect(vm.qmp('eject', { device: 'cd0' })).rejects.toThrow(
    "the medium of 'cd0' stays as it is within COLO",
  );
  Reflect.deleteProperty(colo, 'mode');
  Reflect.deleteProperty(colo.migration, 'busy');
  await vm.qmp('blockdev-change-medium', change);
  expect(await drive()).toMatchObject({ inserted: { file: path('a.iso') } });
});
