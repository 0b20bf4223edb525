/** `-snapshot`: every writable disk under an overlay in memory that is forgotten at the end. */
import { isCdrom } from '../../machine/implied-devices.js';
import type { DriveOption, MachineSpec } from '../../machine/spec.js';
import { type NestedWords, ownWord } from '../../words/nested.js';
import type { VmOption } from './option.js';

export const snapshotOption: VmOption = {
  name: 'snapshot',
  summary:
    'no write reaches an image: they are kept in memory, at most 1 GiB a disk, and ' +
    'forgotten at the end',
  take: draft => void (draft.snapshot = true),
};

/** What is said of the drive itself; the rest is about its image. */
const ofTheDrive = ['cache', 'media', 'throttling', 'node-name'];

export function withSnapshots(spec: MachineSpec): MachineSpec {
  return { ...spec, drives: spec.drives.map(overlaid) };
}

function overlaid(drive: DriveOption): DriveOption {
  const { options } = drive;
  if (isCdrom(drive)) return drive;
  if (options['readonly'] === 'on' || options['read-only'] === 'on') return drive;
  const own = Object.entries(options).filter(([key]) => ofTheDrive.includes(key));
  const image = Object.entries(options).filter(([key]) => !ofTheDrive.includes(key));
  const backing = Object.fromEntries(image.map(below));
  return { ...drive, options: { ...Object.fromEntries(own), driver: 'memory', backing } };
}

/** On a drive `file=F` is a file name; below it would be the name of a node. */
function below([key, value]: [string, string | NestedWords]): [string, string | NestedWords] {
  if (key !== 'file') return [key, value];
  if (typeof value === 'string') return ['filename', value];
  const { [ownWord]: filename, ...group } = value;
  return filename === undefined || 'filename' in group
    ? [key, value]
    : [key, { ...group, filename }];
}
