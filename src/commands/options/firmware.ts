/** Options about firmware: which file it is, and what it boots. */
import { VmError } from '../../base/errors.js';
import { bool, int, optional, parsed } from '../../words/types.js';
import { keyedOption, type VmOption } from './option.js';

export const biosOption: VmOption = {
  name: 'bios',
  value: 'FILE',
  summary:
    'firmware, a multiple of 64 KiB; default without -kernel: SeaBIOS of the package seabios',
  take: (draft, value) => void (draft.spec.bios = value),
};

export const dataDirOption: VmOption = {
  name: 'L',
  value: 'DIR',
  repeatable: true,
  summary: 'look here for firmware first; may be given several times',
  take(draft, value) {
    draft.spec.dataDirs = [...(draft.spec.dataDirs ?? []), value];
  },
};

/** a and b are floppy drives. */
function bootOrder(text: string, name: string): string {
  if (/[ab]/.test(text)) throw new VmError(`${name} '${text}': there is no floppy drive`);
  if (!/^[cdn]{1,3}$/.test(text) || new Set(text).size !== text.length)
    throw new VmError(
      `${name} '${text}' is no boot order: it has c (disk), d (CD-ROM) and n (network), each once`,
    );
  return text;
}

export const bootOption = keyedOption({
  name: 'boot',
  value: 'ORDER',
  summary: 'what firmware boots from: c disk, d CD-ROM, n network; menu=on offers a menu',
  implied: 'order',
  keys: {
    order: optional(parsed('letters in the order in which they are tried', 'cdn', bootOrder)),
    menu: optional(bool('firmware offers a menu for a while')),
    'splash-time': optional(int('for how long, in milliseconds', { min: 0, max: 0xffff })),
    strict: optional(bool('with bootindex: nothing else is tried')),
  },
  take(draft, { order = 'cdn', menu = false, strict = false, 'splash-time': splashMs }) {
    draft.spec.boot = { order, menu, strict, splashMs };
  },
});
