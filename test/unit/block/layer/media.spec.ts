/**
 * Goal: media change as a user wants it, the tray first, and every refusal leaves what was there.
 * Method: a layer over simulated files, and a device in front that only has a tray.
 */
import type { MediumTray } from '../../../../src/block/contract/backend.js';
import { parseDrive } from '../../../../src/block/options/options.js';
import { layerSetUp } from '../../../support/block-layer.js';

class Tray implements MediumTray {
  open = false;
  locked = false;
  asked = 0;
  constructor(private readonly told: (open: boolean) => void) {}
  askToOpen(): void {
    this.asked++;
  }
  move(open: boolean): void {
    this.open = open;
    this.told(open);
  }
}

const CD = 'if=ide,index=2,id=cd0,media=cdrom';

/** A drive, and what stands in front of it. */
async function claimed(options = `${CD},file=/a.img,node-name=n0`) {
  const { layer, events, host } = await layerSetUp();
  const moves: unknown[] = [];
  events.on('DEVICE_TRAY_MOVED', data => moves.push(data));
  await layer.addDrive(parseDrive(options));
  const backend = layer.claim('cd0', 'ide-cd2', { removable: true });
  const tray = new Tray(open => backend.trayMoved(open));
  backend.useTray(tray);
  return { layer, host, backend, tray, moves, media: layer.media };
}

test('eject: the tray is opened, the image is closed; another one goes in', async () => {
  const { layer, host, backend, tray, moves, media } = await claimed();
  expect(backend.readOnly).toBe(true);
  expect(layer.manifest()).toEqual([{ id: 'cd0', length: 65536, readOnly: true }]);
  await media.eject('cd0');
  expect([tray.open, backend.hasMedium, backend.length]).toEqual([true, false, 0]);
  expect(layer.queryNamedBlockNodes()).toEqual([]);
  expect(host.files.inodes.get('/a.img')!.locks).toEqual([]);
  expect(layer.manifest()).toEqual([{ id: 'cd0', length: 0, readOnly: true }]);
  const [empty] = layer.queryBlock();
  expect([empty.removable, empty.tray, 'inserted' in empty]).toEqual([
    true,
    { open: true, locked: false },
    false,
  ]);
  await expect(backend.pread(0, 512)).rejects.toThrow("drive 'cd0' has no medium");
  expect(() => layer.find('cd0')).toThrow("drive 'cd0' has no medium");
  expect([layer.pairImages(), layer.primaryDisks()]).toEqual([[], []]);
  await media.eject('ide-cd2');
  await media.change('ide-cd2', { filename: '/b.img' });
  expect([tray.open, layer.queryBlock()[0].inserted?.filename]).toEqual([false, '/b.img']);
  expect(await backend.pread(0, 512)).toHaveLength(512);
  expect(moves).toEqual([
    { device: 'cd0', id: 'ide-cd2', 'tray-open': true },
    { device: 'cd0', id: 'ide-cd2', 'tray-open': false },
  ]);
});

test('a tray that the guest has locked: it is asked; force does not wait', async () => {
  const { backend, tray, media } = await claimed();
  tray.locked = true;
  const refusal = "Device 'cd0' is locked and force was not specified, wait for tray to open";
  await expect(media.eject('cd0')).rejects.toThrow(refusal);
  await expect(media.change('cd0', { filename: '/b.img' })).rejects.toThrow(refusal);
  media.openTray('cd0');
  expect([tray.asked, tray.open, backend.hasMedium]).toEqual([3, false, true]);
  await media.eject('cd0', true);
  expect([tray.open, backend.hasMedium]).toEqual([true, false]);
});

test('step by step, with a node that stays when it is taken out', async () => {
  const { layer, tray, media, backend } = await claimed(CD);
  await layer.blockdevAdd({
    driver: 'raw',
    'node-name': 'iso',
    'read-only': true,
    file: { driver: 'file', filename: '/b.img' },
  });
  expect(() => media.insert('cd0', 'iso')).toThrow("Tray of device 'cd0' is not open");
  await expect(media.remove('cd0')).rejects.toThrow("Tray of device 'cd0' is not open");
  media.openTray('cd0');
  media.insert('cd0', 'iso');
  expect(() => media.insert('cd0', 'iso')).toThrow("There already is a medium in device 'cd0'");
  media.closeTray('cd0');
  expect([tray.open, backend.nodeName]).toEqual([false, 'iso']);
  await expect(layer.driveDel('iso')).rejects.toThrow('is in use by');
  media.openTray('cd0');
  await media.remove('cd0');
  expect(layer.graph.find('iso')?.userLabels).toEqual([]);
  await layer.driveDel('cd0');
  expect(layer.queryBlock()).toEqual([]);
});

test('what cannot be opened changes nothing', async () => {
  const { layer, tray, backend, media, host } = await claimed();
  await expect(media.change('cd0', { filename: '/none.iso' })).rejects.toThrow('/none.iso');
  await expect(media.change('cd0', { filename: '/b.img', format: 'qcow2' })).rejects.toThrow();
  media.requireFree = name => {
    throw new Error(`not now: ${name}`);
  };
  const all = [
    () => media.eject('cd0'),
    () => media.remove('cd0'),
    () => media.change('cd0', { filename: '/b.img' }),
    async () => media.openTray('cd0'),
    async () => media.closeTray('cd0'),
    async () => media.insert('cd0', 'iso'),
  ];
  for (const call of all) await expect(call()).rejects.toThrow('not now: cd0');
  expect([tray.open, backend.nodeName]).toEqual([false, 'n0']);
  expect(layer.queryNamedBlockNodes().map(({ filename }) => filename)).toEqual([
    '/a.img',
    '/a.img',
  ]);
  expect(host.files.inodes.get('/b.img')!.locks).toEqual([]);
});

test('only media of CD-ROM drives, and only a CD-ROM drive lives without one', async () => {
  const { layer } = await layerSetUp();
  await layer.addDrive(parseDrive('if=none,id=d0,file=/a.img'));
  await layer.addDrive(parseDrive('if=none,id=cd1,media=cdrom'));
  await expect(layer.media.eject('d0')).rejects.toThrow("Device 'd0' is not removable");
  await expect(layer.media.eject('nope')).rejects.toThrow("Device 'nope' not found");
  expect(() => layer.claim('cd1', 'hd0')).toThrow(
    "drive 'cd1' is empty, and device 'hd0' needs an image",
  );
  const image = layer.claim('d0', 'cd2', { removable: true });
  expect([image.readOnly, layer.queryBlock()[0].removable]).toEqual([true, true]);
});
