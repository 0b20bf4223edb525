/**
 * QEMU's options that ask for nothing here, as libvirt and its like always write them: what colo
 * does anyway, or the absence of what it has not (words/nothing.ts).
 */
import { nothing, type NothingKey, type NothingKeys } from '../../words/nothing.js';
import { type Fields, optional, str } from '../../words/types.js';
import type { OptionSyntax } from './argv.js';
import { keyedOption, type VmOption } from './option.js';

export const off = (otherwise: string) => nothing(['off'], otherwise);
export const onOff = (otherwise: string) => nothing(['on', 'off'], otherwise);

/** An option that never asks for more. */
const taken = (
  syntax: OptionSyntax,
  declared: { keys: Fields; implied?: string; json?: boolean },
): VmOption => keyedOption({ ...syntax, ...declared, take: () => undefined });

/** An option without a value. */
const takenAlone = (syntax: OptionSyntax): VmOption => ({ ...syntax, take: () => undefined });

/** An option whose whole value is a word. */
const word = (text: string, otherwise: string, implied = 'type') => ({
  implied,
  keys: { [implied]: nothing([text], otherwise, 'whole') },
});

const NO_SOUND = 'There is no sound. Leave it out.';
const USE_NETDEV = 'Use -netdev with -device virtio-net-pci.';
const RESTRICTED = 'Use a service manager for this, or bwrap.';

export const nothingTable: readonly VmOption[] = [
  takenAlone({
    name: 'no-user-config',
    aliases: ['nouserconfig', 'nodefconfig'],
    summary: 'taken as it is: colo reads no configuration but that of --config',
  }),
  takenAlone({
    name: 'only-migratable',
    summary: 'taken as it is: everything of this machine can be migrated',
  }),
  takenAlone({ name: 'no-hpet', summary: 'taken as it is: there is no HPET' }),
  takenAlone({
    name: 'no-fd-bootchk',
    summary: 'taken as it is: nothing boots from a floppy disk',
  }),
  taken(
    {
      name: 'rtc',
      value: 'base=utc',
      summary: 'the clock is UTC and follows the host: base=utc,clock=host,driftfix=none',
    },
    {
      keys: {
        base: nothing(['utc'], 'The clock is UTC: tell the guest so, or set its time zone.'),
        clock: nothing(['host'], 'The clock follows that of the host.'),
        driftfix: nothing(['none'], 'Ticks that a guest missed are not given later. Leave it out.'),
      },
    },
  ),
  taken(
    {
      name: 'overcommit',
      aliases: ['realtime'],
      value: 'mem-lock=off',
      summary: 'memory of the guest is not locked: mem-lock=off,cpu-pm=off',
    },
    {
      keys: {
        'mem-lock': off('Memory of the guest is not locked: give the host enough of it.'),
        mlock: off('Memory of the guest is not locked: give the host enough of it.'),
        'cpu-pm': off('A halted guest gives the processor back. Leave it out.'),
      },
    },
  ),
  taken(
    {
      name: 'net',
      value: 'none',
      repeatable: true,
      summary: 'no network card but those of -device: only `none` is taken',
    },
    word('none', USE_NETDEV),
  ),
  taken(
    {
      name: 'nic',
      value: 'none',
      repeatable: true,
      summary: 'the same',
    },
    word('none', USE_NETDEV),
  ),
  taken(
    {
      name: 'parallel',
      value: 'none',
      repeatable: true,
      summary: 'there is no parallel port: only `none` is taken',
    },
    word('none', 'There is no parallel port. Use -serial.'),
  ),
  taken(
    {
      name: 'balloon',
      value: 'none',
      summary: 'there is no balloon: only `none` is taken',
    },
    word('none', 'There is no balloon. Leave it out.'),
  ),
  taken(
    {
      name: 'audio',
      value: 'none',
      summary: 'there is no sound: only `none` is taken',
    },
    word('none', NO_SOUND),
  ),
  taken(
    {
      name: 'audiodev',
      value: 'none,id=ID',
      repeatable: true,
      summary: 'there is no sound: only the driver `none` is taken, as text or as JSON',
    },
    {
      implied: 'driver',
      json: true,
      keys: { driver: nothing(['none'], NO_SOUND, 'whole'), id: optional(str('a name')) },
    },
  ),
  taken(
    {
      name: 'sandbox',
      value: 'off',
      summary: 'colo confines nothing: only `off` is taken',
    },
    word('off', RESTRICTED, 'enable'),
  ),
];

const pciPlug: NothingKey = { takes: ['off'], otherwise: 'PCI devices cannot be plugged in.' };
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
  'PIIX4_PM.acpi-root-pci-hotplug': pciPlug,
  'PIIX4_PM.acpi-pci-hotplug-with-bridge-support': pciPlug,
  'kvm-pit.lost_tick_policy': {
    takes: ['delay'],
    otherwise: 'On KVM its own timer is used, which gives ticks later that a guest missed.',
  },
};
