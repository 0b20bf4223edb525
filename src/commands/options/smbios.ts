/** `-smbios type=N,...`: what the machine says of itself in DMI. */
import { VmError } from '../../base/errors.js';
import type { SmbiosWords } from '../../hw/firmware/smbios.js';
import { int, optional, parsed } from '../../words/types.js';
import { readUuid } from './machine.js';
import { keyedOption } from './option.js';

const LENGTH_MAX = 1024;

/** SMBIOS has bytes; what they mean beyond ASCII is nobody's agreement. */
function text(word: string): string {
  if (!/^[ -~]+$/.test(word)) throw new VmError(`'${word}' is no text of printable ASCII`);
  if (word.length > LENGTH_MAX)
    throw new VmError(`${word.length} characters are too many: at most ${LENGTH_MAX}`);
  return word;
}
const words = (summary: string) => optional(parsed(summary, 'a text', text));

/** The words of each type, as they are called in SmbiosWords and on the command line. */
const TYPES = {
  0: { part: 'bios', keys: ['vendor', 'version', 'date'] },
  1: {
    part: 'system',
    keys: ['manufacturer', 'product', 'version', 'serial', 'uuid', 'sku', 'family'],
  },
  2: {
    part: 'baseboard',
    keys: ['manufacturer', 'product', 'version', 'serial', 'asset', 'location'],
  },
  3: { part: 'chassis', keys: ['manufacturer', 'version', 'serial', 'asset', 'sku'] },
  11: { part: 'oemStrings', keys: ['value'] },
} as const;

export const smbiosOption = keyedOption({
  name: 'smbios',
  value: 'type=N[,KEY=TEXT...]',
  repeatable: true,
  summary:
    'what the machine says of itself in DMI: type 0 (BIOS), 1 (system), 2 (baseboard), 3 ' +
    '(chassis), 11 (a string for programs of the guest, with value=)',
  keys: {
    type: int('0, 1, 2, 3 or 11', { min: 0, max: 255 }),
    vendor: words('type 0: who made the firmware'),
    date: words('type 0: MM/DD/YYYY'),
    manufacturer: words('types 1 to 3: who made it'),
    product: words('types 1 and 2: its name'),
    version: words('types 0 to 3: its version'),
    serial: words('types 1 to 3: its serial number'),
    uuid: optional(parsed('type 1: the same as -uuid', 'a UUID', readUuid)),
    sku: words('types 1 and 3: its number in a catalogue'),
    family: words('type 1: what it belongs to'),
    asset: words('types 2 and 3: what its owner calls it'),
    location: words('type 2: where in the chassis it is'),
    value: words('type 11: one string; several options add up'),
  },
  take(draft, { type, uuid, value, ...given }) {
    const known = TYPES[type as keyof typeof TYPES];
    if (!known)
      throw new VmError(`type=${type}: types ${Object.keys(TYPES).join(', ')} can be said`);
    const all = Object.keys({ ...given, ...(uuid && { uuid }), ...(value && { value }) });
    const keys: readonly string[] = known.keys;
    const foreign = all.find(key => !keys.includes(key));
    if (foreign !== undefined)
      throw new VmError(`type ${type} has no '${foreign}'; it has ${keys.join(', ')}`);
    if (uuid !== undefined) draft.spec.uuid = uuid;
    const before = draft.spec.smbios ?? {};
    draft.spec.smbios =
      known.part === 'oemStrings'
        ? withString(before, value)
        : { ...before, [known.part]: { ...before[known.part], ...given } };
  },
});

function withString(before: SmbiosWords, value: string | undefined): SmbiosWords {
  if (value === undefined) throw new VmError('type 11 needs value=');
  return { ...before, oemStrings: [...(before.oemStrings ?? []), value] };
}
