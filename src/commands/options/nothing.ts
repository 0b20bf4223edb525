/**
 * QEMU's options that ask for nothing here, as libvirt and its like always write them: what colo
 * does anyway, or the absence of what it has not (words/nothing.ts).
 */
import { KeyValues, parseItems } from '../../words/key-values.js';
import { type NothingKey, type NothingKeys, takeNothing } from '../../words/nothing.js';

/** Of an option that never asks for more. */
export interface Nothing {
  /** The key of a first item without `=`. */
  readonly implied?: string;
  readonly keys: NothingKeys;
  /** It has an id, which nothing refers to. */
  readonly named?: boolean;
}

const off = (otherwise: string): NothingKey => ({ takes: ['off'], otherwise });
const onOff = (otherwise: string): NothingKey => ({ takes: ['on', 'off'], otherwise });
/** An option whose whole value is a word. */
const word = (text: string, otherwise: string): Nothing => ({
  implied: 'type',
  keys: { type: { takes: [text], otherwise } },
});

const noDisplay = 'colo has no display. Leave it out.';
const noSound = 'There is no sound. Leave it out.';
const useNetdev = 'Use -netdev with -device virtio-net-pci.';
const restricted = 'Use a service manager for this, or bwrap.';

export const nothingTable = [
  {
    name: 'no-user-config',
    aliases: ['nouserconfig', 'nodefconfig'],
    summary: 'taken as it is: colo reads no configuration but that of --config',
  },
  {
    name: 'only-migratable',
    summary: 'taken as it is: everything of this machine can be migrated',
  },
  { name: 'no-hpet', summary: 'taken as it is: there is no HPET' },
  { name: 'no-fd-bootchk', summary: 'taken as it is: nothing boots from a floppy disk' },
  {
    name: 'rtc',
    value: 'base=utc',
    summary: 'the clock is UTC and follows the host: base=utc,clock=host,driftfix=none',
    nothing: {
      keys: {
        base: {
          takes: ['utc'],
          otherwise: 'The clock is UTC: tell the guest so, or set its time zone.',
        },
        clock: { takes: ['host'], otherwise: 'The clock follows that of the host.' },
        driftfix: {
          takes: ['none'],
          otherwise: 'Ticks that a guest missed are not given later. Leave it out.',
        },
      },
    },
  },
  {
    name: 'overcommit',
    aliases: ['realtime'],
    value: 'mem-lock=off',
    summary: 'memory of the guest is not locked: mem-lock=off,cpu-pm=off',
    nothing: {
      keys: {
        'mem-lock': off('Memory of the guest is not locked: give the host enough of it.'),
        mlock: off('Memory of the guest is not locked: give the host enough of it.'),
        'cpu-pm': off('A halted guest gives the processor back. Leave it out.'),
      },
    },
  },
  {
    name: 'vga',
    value: 'none',
    summary: 'colo has no display: only `none` is taken',
    nothing: word('none', noDisplay),
  },
  {
    name: 'vnc',
    value: 'none',
    summary: 'colo has no display: only `none` is taken',
    nothing: word('none', 'colo has no display. Use -serial and a kernel with console=ttyS0.'),
  },
  {
    name: 'net',
    value: 'none',
    repeatable: true,
    summary: 'no network card but those of -device: only `none` is taken',
    nothing: word('none', useNetdev),
  },
  {
    name: 'nic',
    value: 'none',
    repeatable: true,
    summary: 'the same',
    nothing: word('none', useNetdev),
  },
  {
    name: 'parallel',
    value: 'none',
    repeatable: true,
    summary: 'there is no parallel port: only `none` is taken',
    nothing: word('none', 'There is no parallel port. Use -serial.'),
  },
  {
    name: 'balloon',
    value: 'none',
    summary: 'there is no balloon: only `none` is taken',
    nothing: word('none', 'There is no balloon. Leave it out.'),
  },
  {
    name: 'audio',
    value: 'none',
    summary: 'there is no sound: only `none` is taken',
    nothing: word('none', noSound),
  },
  {
    name: 'audiodev',
    value: 'none,id=ID',
    repeatable: true,
    summary: 'there is no sound: only the driver `none` is taken, as text or as JSON',
    nothing: {
      implied: 'driver',
      named: true,
      keys: { driver: { takes: ['none'], otherwise: noSound } },
    },
  },
  {
    name: 'sandbox',
    value: 'off',
    summary: 'colo confines nothing: only `off` is taken',
    nothing: { implied: 'enable', keys: { enable: off(restricted) } },
  },
] as const;

/** Options that have more to say, too: what of them asks for nothing. */
export const ofTheMachine: NothingKeys = {
  usb: off('There is no USB. Leave it out.'),
  vmport: { takes: ['off', 'auto'], otherwise: 'There is no VMware port. Leave it out.' },
  'dump-guest-core': off('The memory of the guest is never in a core file. Leave it out.'),
  'mem-merge': off('Memory of guests is not merged. Leave it out.'),
  smm: { takes: ['off', 'auto'], otherwise: 'There is no system management mode. Leave it out.' },
  hpet: off('There is no HPET. Leave it out.'),
  nvdimm: off('There are no NVDIMMs. Leave it out.'),
  graphics: off('colo has no display. Leave it out.'),
  sata: off('There is no SATA. Use -drive if=virtio.'),
  acpi: {
    takes: ['on', 'auto'],
    otherwise: 'The machine has ACPI; a guest leaves it alone with acpi=off in -append.',
  },
  pit: { takes: ['on', 'auto'], otherwise: 'The machine has its timers. Leave it out.' },
  pic: {
    takes: ['on', 'auto'],
    otherwise: 'The machine has its interrupt controllers. Leave it out.',
  },
  'kernel-irqchip': {
    takes: ['on'],
    otherwise: 'On KVM its own interrupt controllers are used. Leave it out.',
  },
};
export const ofTheBoot: NothingKeys = {
  order: {
    takes: ['c'],
    otherwise: 'What boots is the kernel of -kernel. Leave -boot out, or say -boot c.',
  },
  strict: onOff('It is on or off.'),
  menu: off('There is no firmware that could show a menu. Leave it out.'),
};
export const ofMessages: NothingKeys = {
  'guest-name': off('Lines begin with the side, not with the name.'),
};
export const ofTheName: NothingKeys = { 'debug-threads': onOff('Threads have names in any case.') };
export const ofTheSmp: NothingKeys = Object.fromEntries(
  ['dies', 'clusters', 'modules', 'books', 'drawers'].map(key => [
    key,
    { takes: ['1'], otherwise: 'A processor has sockets, cores and threads.' },
  ]),
);
/** DRIVER.PROPERTY of -global, for devices that are not there, or that have no other way. */
export const ofGlobals: NothingKeys = {
  'PIIX4_PM.disable_s3': {
    takes: ['1', 'on', 'true'],
    otherwise: 'Guests cannot suspend to memory.',
  },
  'PIIX4_PM.disable_s4': {
    takes: ['1', 'on', 'true'],
    otherwise: 'Guests cannot suspend to disk through ACPI.',
  },
  'PIIX4_PM.acpi-root-pci-hotplug': off('PCI devices cannot be plugged in.'),
  'PIIX4_PM.acpi-pci-hotplug-with-bridge-support': off('PCI devices cannot be plugged in.'),
  'kvm-pit.lost_tick_policy': {
    takes: ['delay'],
    otherwise: 'On KVM its own timer is used, which gives ticks later that a guest missed.',
  },
};

/** The whole value of an option that never asks for more. */
export function checkNothing(text: string, { implied, keys, named }: Nothing): void {
  const options = new KeyValues(parseItems(text, implied));
  if (named) options.take('id');
  takeNothing(options, keys, implied);
  options.done(Object.keys(keys).join(', '));
}
