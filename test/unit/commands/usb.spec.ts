/**
 * Goal: -usb, -usbdevice, -machine usb=on and -device put a controller and what is on it where QEMU
 * has them, and what does not fit is refused by name. Method: whole command lines, the devices that
 * they become, a board with them, and `info usb`.
 */
import { Board } from '../../../src/machine/board.js';
import { allDevices } from '../../../src/machine/implied-devices.js';
import { monitorRegistry } from '../../../src/monitor/commands/all.js';
import { HmpShell } from '../../../src/monitor/hmp/shell.js';
import { BenchClock } from '../../support/device-bench.js';
import { FakeRam } from '../../support/fake-ram.js';
import { FakeVm } from '../../support/fake-vm.js';
import { launch, refusal } from '../../support/launch.js';
import { rememberingVm } from '../../support/remembering-vm.js';

const devices = (line: string) =>
  allDevices(launch('primary', `-kernel k ${line}`)).map(({ id, model }) => `${model} ${id}`);

test.each([
  ['-usb', ['piix3-usb-uhci usb0']],
  ['-M pc,usb=on', ['piix3-usb-uhci usb0']],
  ['-M pc,usb=off', []],
  ['-usb -device piix3-usb-uhci,id=u', ['piix3-usb-uhci u']],
  ['-device usb-kbd,id=k -usb', ['piix3-usb-uhci usb0', 'usb-kbd k']],
  [
    '-usbdevice tablet -usbdevice keyboard',
    ['piix3-usb-uhci usb0', 'usb-tablet tablet0', 'usb-kbd keyboard0'],
  ],
  ['-usbdevice mouse', ['piix3-usb-uhci usb0', 'usb-mouse mouse0']],
])('%s', (line, expected) => expect(devices(line)).toEqual(expected));

test.each([
  [
    '-device usb-tablet,id=t -device piix3-usb-uhci',
    '-device usb-tablet,id=t: there is no USB controller before it | Say -usb, or -device ' +
      'piix3-usb-uhci before it.',
  ],
  [
    '-device piix3-usb-uhci -device piix3-usb-uhci,id=v',
    '-device piix3-usb-uhci,id=v: a machine has one USB controller',
  ],
  [
    '-usb -device usb-tablet -device usb-kbd -device usb-mouse,id=m',
    '-device usb-mouse,id=m: the USB controller has 2 ports, and both are taken',
  ],
  [
    '-usbdevice tabled',
    "-usbdevice tabled: 'tabled' is not a USB device; there is tablet, mouse, keyboard. Did you " +
      "mean 'tablet'?",
  ],
  ['-usb -device usb-kbd,port=3', /^-device usb-kbd,port=3: .*port/],
])('%s is refused', (line, answer) => {
  const said = refusal('primary', `-kernel k ${line}`);
  if (typeof answer === 'string') expect(said).toBe(answer);
  else expect(said).toMatch(answer);
});

function boardOf(line: string): Board {
  const vm = new FakeVm(new FakeRam(4 << 20));
  const missing = () => {
    throw new Error('not asked for');
  };
  return new Board(
    vm,
    new BenchClock(vm),
    [],
    {
      specs: launch('primary', `-kernel k ${line}`).devices,
      backends: { drive: missing, netdev: missing, chardev: missing, rom: () => undefined },
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

test('the controller is function 2 of the PIIX3, the devices are on its ports', () => {
  const board = boardOf(
    '-device piix3-usb-uhci,id=usb -device usb-kbd,id=k,bus=usb.0,port=2 -device usb-tablet,id=t',
  );
  expect(Object.fromEntries(board.places)).toMatchObject({
    piix3: 'pci.0 00:01.0',
    usb: 'pci.0 00:01.2',
    k: 'usb.0 port 2',
    t: 'usb.0 port 1',
  });
  expect(board.piix3.usbInfo().map(({ id, port, address }) => [id, port, address])).toEqual([
    ['t', 1, 0],
    ['k', 2, 0],
  ]);
});

test.each([
  ['-usb -device usb-kbd,bus=x.0,id=k', "k: there is no USB bus 'x.0'; the machine has usb0.0"],
  ['-usb -device usb-kbd,id=a,port=1 -device usb-kbd,id=b,port=1', 'b: port 1 is taken by a'],
  [
    '-device piix3-usb-uhci,id=piix3',
    '-device id=piix3: the bridge of the USB controller has that id; give it another one',
  ],
])('%s: no board', (line, answer) => expect(() => boardOf(line)).toThrow(answer));

test('info usb', async () => {
  const vm = rememberingVm();
  const shell = new HmpShell(monitorRegistry, vm, false);
  expect(await shell.run('info usb')).toBe('');
  vm.machine.usbInfo = () => [{ id: 't', port: 1, address: 3, product: 'USB Tablet' }];
  expect(await shell.run('info usb')).toBe(
    '  Device 0.3, Port 1, Speed 12 Mb/s, Product COLO USB Tablet, ID: t\n',
  );
});
