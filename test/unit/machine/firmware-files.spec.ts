/**
 * Goal: a file of firmware is looked for in one way, whichever option names it. Method: files by
 * path, the firmware and the ROM that a spec gets of them.
 */
import { loadFirmware } from '../../../src/machine/firmware.js';
import { loadRoms } from '../../../src/machine/roms.js';
import { base } from '../../support/machine-bench.js';

const BIOS = Buffer.alloc(64 << 10, 1);
const ROM = Buffer.of(0x55, 0xaa, 1);

const files = (known: Record<string, Buffer>) => ({
  readFile: async (path: string) =>
    known[path] ?? Promise.reject(new Error(`ENOENT: no such file, open '${path}'`)),
});

/** Of a VGA with that romfile=. */
async function rom(romfile: string | undefined, known: Record<string, Buffer>) {
  const devices = [{ model: 'VGA', id: 'v', properties: { romfile } }];
  return (await loadRoms({ ...base, dataDirs: ['/mine'], devices }, files(known))).get('v');
}
const bios = (name: string | undefined, known: Record<string, Buffer>) => {
  const drives = [{ id: 'd', interface: 'virtio' as const, options: {} }];
  const spec = { ...base, kernel: undefined, dataDirs: ['/mine'], bios: name, drives };
  return loadFirmware(spec, files(known));
};

test.each(['x.bin', '/mine/x.bin', '/usr/share/seabios/x.bin', '/usr/local/share/qemu/x.bin'])(
  'a name is looked for as it is, then in the folders: %s',
  async path => {
    expect(await bios('x.bin', { [path]: BIOS })).toEqual({ path, bytes: BIOS });
    expect(await rom('x.bin', { [path]: ROM })).toEqual(ROM);
  },
);

test('a path is no name; why it cannot be read is told of what was said', async () => {
  const known = { '/mine/a/x.bin': BIOS };
  await expect(bios('a/x.bin', known)).rejects.toThrow(/^-bios a\/x.bin: ENOENT: .* 'a\/x.bin'/);
  await expect(rom('a/x.bin', known)).rejects.toThrow(
    /^-device VGA,romfile=a\/x.bin: ENOENT: .* 'a\/x.bin'/,
  );
});

test('what was named and is something else is refused, not passed over', async () => {
  const known = { '/mine/x.bin': Buffer.alloc(3), '/usr/share/qemu/x.bin': BIOS };
  await expect(bios('x.bin', known)).rejects.toThrow('-bios /mine/x.bin: 3 bytes are no firmware');
  await expect(rom('x.bin', known)).rejects.toThrow('romfile=x.bin: not the ROM of a card');
});

test('what nobody named: the folders of -L first, and no ROM where there is none', async () => {
  const path = '/mine/bios.bin';
  const known = { [path]: BIOS, '/usr/share/seabios/bios-256k.bin': BIOS };
  expect((await bios(undefined, known))?.path).toBe(path);
  const roms = { '/mine/vgabios-stdvga.bin': BIOS, '/usr/share/vgabios/vgabios-stdvga.bin': ROM };
  expect(await rom(undefined, roms)).toEqual(ROM);
  expect([await rom(undefined, {}), await rom('', roms)]).toEqual([undefined, undefined]);
});
