/** Options about the machine as a whole: its name, what it boots, how it begins and ends. */
import { didYouMean } from '../../base/similar.js';
import { VmError } from '../../base/errors.js';
import { asksForHelp, listOf, neededWord } from '../../words/named.js';
import { nothing } from '../../words/nothing.js';
import { parseSize } from '../../words/scalars.js';
import { MACHINE_TYPE } from '../../machine/spec.js';
import { bool, optional, parsed, size } from '../../words/types.js';
import { accelerator } from './accel.js';
import { off, onOff } from './nothing.js';
import { answerHelp, keyedOption, type VmOption } from './option.js';

export const nameOption = keyedOption({
  name: 'name',
  value: 'NAME',
  summary:
    'name of the VM, and its address on this host: colo monitor NAME; one live VM of a name ' +
    'per user',
  implied: 'guest',
  helpIsValue: true,
  keys: {
    guest: parsed('the name', 'a name', neededWord),
    'debug-threads': onOff('Threads have names in any case.'),
  },
  take(draft, { guest }) {
    draft.name = draft.spec.name = guest;
  },
});

export const uuidOption: VmOption = {
  name: 'uuid',
  value: 'UUID',
  summary: 'UUID of the VM; default: all zero',
  take: (draft, value) => void (draft.spec.uuid = readUuid(value)),
};

export function readUuid(word: string): string {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(word)) throw new VmError('not a UUID');
  return word.toLowerCase();
}

export const memoryOption = keyedOption({
  name: 'm',
  value: 'SIZE',
  summary: 'RAM: 512, 2048M, 2G (MiB without a suffix; default 128)',
  implied: 'size',
  keys: {
    size: { ...size('RAM of the guest', 'M'), fromWord: ramBytes },
  },
  take(draft, { size: bytes }) {
    draft.spec.ramBytes = bytes;
  },
});

function ramBytes(word: string): number {
  const bytes = parseSize(word, 'M');
  if (bytes === undefined)
    throw new VmError(`'${word}' is not a size`, { hint: 'Examples: 512 (MiB), 2048M, 2G.' });
  return bytes;
}

export const kernelOption: VmOption = {
  name: 'kernel',
  value: 'PATH',
  summary:
    'kernel to boot: bzImage, ELF vmlinux or Multiboot; it is entered at once, with -bios ' +
    'firmware starts a bzImage',
  take: (draft, value) => void (draft.spec.kernel = value),
};

export const initrdOption: VmOption = {
  name: 'initrd',
  value: 'PATH',
  summary: 'initial RAM disk',
  take: (draft, value) => void (draft.spec.initrd = value),
};

export const appendOption: VmOption = {
  name: 'append',
  value: 'LINE',
  summary: 'kernel command line',
  take: (draft, value) => void (draft.spec.append = value),
};

export const startPausedOption: VmOption = {
  name: 'S',
  summary:
    'do not start the guest: wait for `cont`. Without -kernel and firmware: an empty machine, to ' +
    'try the monitor on',
  take: draft => void (draft.spec.startPaused = true),
};

export const noRebootOption: VmOption = {
  name: 'no-reboot',
  summary: 'a reset by the guest ends the VM',
  take: draft => void (draft.spec.noReboot = true),
};

export const noShutdownOption: VmOption = {
  name: 'no-shutdown',
  summary: 'a power-off by the guest leaves the VM there, stopped',
  take: draft => void (draft.spec.noShutdown = true),
};

/** One machine, by the name that the guest reads. */
const machines: Readonly<Record<string, string>> = {
  pc: 'PC with an i440FX and a PIIX3, PCI and virtio: the default, and the only one',
  'pc-i440fx-VERSION': `the same by that name; pc is ${MACHINE_TYPE}`,
};

const machineType = parsed('the machine', 'pc', type => {
  if (type === 'pc') return MACHINE_TYPE;
  if (/^pc-i440fx-[0-9]{1,3}\.[0-9]{1,3}$/.test(type)) return type;
  throw new VmError(`'${type}' is not a machine of colo; it has pc.${didYouMean(type, ['pc'])}`, {
    hint: 'pc-i440fx-2.3 and its like are the same machine by another name.',
  });
});

const keyedMachine = keyedOption({
  name: 'machine',
  aliases: ['M'],
  value: 'TYPE',
  summary:
    'pc, or pc-i440fx-VERSION: the one machine that there is, by the name that the guest reads ' +
    'and both sides of a migration must share; ' +
    '[,accel=auto|soft|kvm][,usb=on|off]; what it has not may be off (hpet=off); -machine help',
  implied: 'type',
  keys: {
    type: optional(machineType),
    accel: optional(parsed('what runs the guest', 'auto, soft or kvm', accelerator)),
    usb: optional(bool('on: a USB controller, as with -usb')),
    vmport: nothing(['off', 'auto'], 'There is no VMware port. Leave it out.'),
    'dump-guest-core': off('The memory of the guest is never in a core file. Leave it out.'),
    'mem-merge': off('Memory of guests is not merged. Leave it out.'),
    smm: nothing(['off', 'auto'], 'There is no system management mode. Leave it out.'),
    hpet: off('There is no HPET. Leave it out.'),
    nvdimm: off('There are no NVDIMMs. Leave it out.'),
    graphics: off('colo has no display. Leave it out.'),
    sata: off('There is no SATA. Use -drive if=virtio.'),
    acpi: nothing(
      ['on', 'auto'],
      'The machine has ACPI; a guest leaves it alone with acpi=off in -append.',
    ),
    pit: nothing(['on', 'auto'], 'The machine has its timers. Leave it out.'),
    pic: nothing(['on', 'auto'], 'The machine has its interrupt controllers. Leave it out.'),
    'kernel-irqchip': nothing(
      ['on'],
      'On KVM its own interrupt controllers are used. Leave it out.',
    ),
  },
  take(draft, { type, accel, usb }) {
    if (type !== undefined) draft.spec.machineType = type;
    if (usb) draft.usb = true;
    if (accel !== undefined) draft.spec.accel = accel;
  },
});

/** As in QEMU, `help` lists the machines. */
export const machineOption: VmOption = {
  ...keyedMachine,
  take(draft, value, given) {
    answerHelp(asksForHelp(value) ? listOf('Supported machines are:', machines) : undefined);
    keyedMachine.take(draft, value, given);
  },
};

export const displayOption: VmOption = {
  name: 'display',
  value: 'none',
  summary: 'no window on this host: only `none` is taken; -vnc shows the screen',
  take(_draft, value) {
    if (value !== 'none')
      throw new VmError('there is no window on this host: only `none` is taken', {
        hint: 'Use -vnc.',
      });
  },
};

export const noDefaultsOption: VmOption = {
  name: 'nodefaults',
  summary: 'taken as it is: colo adds no default devices',
  take: () => undefined,
};
