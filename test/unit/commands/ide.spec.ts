/**
 * Goal: -hda to -hdd and if=ide put disks at their places, whatever their order, and what does not
 * fit is refused by name. Method: whole command lines, the devices that they become, and a board
 * with them.
 */
import { VmError } from '../../../src/base/errors.js';
import { Board } from '../../../src/machine/board.js';
import { checkSpec } from '../../../src/machine/check-spec.js';
import { allDevices } from '../../../src/machine/implied-devices.js';
import { TestDisk } from '../../support/device-bench.js';
import { FakeRam } from '../../support/fake-ram.js';
import { BenchClock } from '../../support/device-bench.js';
import { FakeVm } from '../../support/fake-vm.js';
import { launch, refusal } from '../../support/launch.js';

const placed = (line: string) =>
  allDevices(launch('primary', line)).map(
    ({ id, model, properties: { drive, bus, unit } }) =>
      `${model} ${id} ${String(drive)} ${String(bus)} ${String(unit)}`,
  );

test('each disk is where its option says, the others where there is room', () => {
  expect(placed('-hdc c.img -drive if=ide,id=x,file=x.img -hda a.img')).toEqual([
    'ide-hd ide-disk2 ide1-hd0 ide.1 0',
    'ide-hd ide-disk1 x ide.0 1',
    'ide-hd ide-disk0 ide0-hd0 ide.0 0',
  ]);
  expect(launch('primary', '-hdb a,b.img').drives[0].options).toEqual({
    file: 'a,b.img',
    index: '1',
  });
});

test('CD-ROM drives, with and without a medium', () => {
  expect(placed('-cdrom c.iso -hda a.img')).toEqual([
    'ide-cd ide-cd2 ide1-cd0 ide.1 0',
    'ide-hd ide-disk0 ide0-hd0 ide.0 0',
  ]);
  expect(placed('-drive media=cdrom,bus=0,unit=1 -drive if=ide,media=cdrom,id=x,file=x')).toEqual([
    'ide-cd ide-cd1 ide0-cd1 ide.0 1',
    'ide-cd ide-cd0 x ide.0 0',
  ]);
  expect(launch('primary', '-snapshot -cdrom c.iso').drives[0].options).toEqual({
    file: 'c.iso',
    index: '2',
    media: 'cdrom',
  });
});

test.each([
  [
    '-drive if=ide,bus=0,index=1,file=b',
    '-drive if=ide,bus=0,index=1,file=b: index= and bus=, unit= say the same: give one',
  ],
  ['-drive if=ide,unit=2,file=b', '-drive if=ide,unit=2,file=b: unit=2: if=ide has 0 and 1'],
  [
    '-drive if=virtio,media=cdrom,file=b',
    '-drive id=virtio0: media=cdrom: a CD-ROM drive is on IDE: if=ide, or if=none with -device ' +
      'ide-cd',
  ],
  ['-cdrom c -global ide-cd.serial=1', /does not reach the device that comes with -drive if=ide/],
  [
    '-hda a -drive if=ide,id=b,index=0,file=b',
    '-drive id=b: index=0 of if=ide is taken by ide0-hd0',
  ],
  [
    '-drive if=ide,index=4,file=b',
    '-drive if=ide,index=4,file=b: index=4: if=ide has places 0 to 3',
  ],
  [
    '-hda a -hdb b -hdc c -hdd d -drive if=ide,id=e,file=e',
    '-drive id=e: if=ide has 4 places, and all are taken',
  ],
  ['-hda a -global ide-hd.serial=1', /does not reach the device that comes with -drive if=ide/],
])('%s is refused', (line, answer) => {
  expect(refusal('primary', line)).toMatch(answer);
});

test('a spec without a command line is checked for it, too', () => {
  const spec = launch('primary', '-hda a');
  const drives = spec.drives.map(drive => ({ ...drive, options: { index: '7' } }));
  expect(() => checkSpec({ ...spec, drives })).toThrow(
    '-drive id=ide0-hd0: index=7: if=ide has places 0 to 3',
  );
});

function boardOf(
  line: string,
  disk = new TestDisk(64),
  claimed: (properties: unknown) => void = () => undefined,
): Board {
  const vm = new FakeVm(new FakeRam(4 << 20));
  return new Board(
    vm,
    new BenchClock(vm),
    [],
    {
      specs: allDevices(launch('primary', line)),
      backends: {
        drive: (_name, _device, properties) => {
          claimed(properties);
          return disk;
        },
        netdev: () => {
          throw new Error('there is none');
        },
        chardev: () => {
          throw new Error('there is none');
        },
        rom: () => undefined,
      },
    },
    {
      power: { reset: () => undefined, powerOff: () => undefined },
      exit: () => undefined,
      broken: (_id, _why, thrown) => {
        throw thrown;
      },
    },
  );
}

test('on the board: a PIIX3 in a slot of its own, and disks on its channels', () => {
  const board = boardOf(
    '-drive id=v,file=v -hda a -drive if=none,id=n,file=n -device ide-hd,drive=n',
  );
  expect([...board.places].slice(-5)).toEqual([
    ['virtio-disk0', 'pci.0 00:01.0'],
    ['piix3', 'pci.0 00:02.0'],
    ['piix3-ide', 'pci.0 00:02.1'],
    ['ide-disk0', 'ide.0 unit 0'],
    ['ide-hd0', 'ide.0 unit 1'],
  ]);
  const device = '-drive if=none,id=n,file=n -device ide-hd,drive=n,bus=ide.0,unit=0';
  expect(() => boardOf(`-hda a ${device}`)).toThrow('its place on IDE is taken by ide-disk0');
  expect(() => boardOf('-hda a', new TestDisk(64, true))).toThrow("drive 'ide0-hd0' is read-only");
});

test('a CD-ROM drive takes what is writable for read-only, and an empty one', () => {
  const asked: unknown[] = [];
  const disk = new TestDisk(64);
  const board = boardOf('-cdrom c -boot d', disk, properties => asked.push(properties));
  expect(asked).toEqual([{ removable: true }]);
  expect(board.places.get('ide-cd2')).toBe('ide.1 unit 0');
  expect(disk.tray).toMatchObject({ open: false, locked: false });
});

test.each([
  ['rtc', '-device id=rtc: a chip of the machine (isa 0x70 irq 8) has that id'],
  ['piix3', '-device id=piix3: the IDE controller of the machine has that id'],
  ['piix3-ide', '-device id=piix3-ide: the IDE controller of the machine has that id'],
])('a device is not called as a chip is: %s', (id, sentence) => {
  const drives = '-drive if=none,id=n,file=n -drive if=none,id=h,file=h';
  const line = `${drives} -device virtio-blk-pci,id=${id},drive=n -device ide-hd,drive=h`;
  expect(() => boardOf(line)).toThrow(new VmError(`${sentence}; give it another one`));
});
