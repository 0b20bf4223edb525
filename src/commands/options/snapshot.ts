/** `-snapshot`: every writable disk under an overlay in memory that is forgotten at the end. */
import type { DriveSpec, MachineSpec, OptionTree } from '../../machine/spec.js';

/** What is said of the drive itself; the rest is about its image. */
const ofTheDrive = ['cache', 'media', 'throttling', 'node-name'];

export function withSnapshots(spec: MachineSpec): MachineSpec {
  return { ...spec, drives: spec.drives.map(overlaid) };
}

function overlaid(drive: DriveSpec): DriveSpec {
  const { options } = drive;
  if (options['readonly'] === 'on' || options['read-only'] === 'on') return drive;
  const own = Object.entries(options).filter(([key]) => ofTheDrive.includes(key));
  const image = Object.entries(options).filter(([key]) => !ofTheDrive.includes(key));
  // On a drive `file=F` is a file name; below it would be the name of a node.
  const backing = Object.fromEntries(
    image.map(([key, value]): [string, string | OptionTree] =>
      key === 'file' && typeof value === 'string' ? ['filename', value] : [key, value],
    ),
  );
  return { ...drive, options: { ...Object.fromEntries(own), driver: 'memory', backing } };
}
