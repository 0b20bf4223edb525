/** Media of CD-ROM drives: what lies in a tray, and whether it is open. */
import { VmError } from '../../base/errors.js';
import { flag, oneOf, optional, str } from '../../words/types.js';
import { command, hmp, hmpCommand } from '../schema.js';
import { vncServerOf } from './display.js';

const force = flag('f', 'also where the guest has locked the tray');
const named = {
  device: optional(str('the drive', { complete: 'block-nodes' })),
  id: optional(str('the device in front of it', { complete: 'devices' })),
};
const inFront = str('the device in front of the drive, or the drive', { complete: 'devices' });
const readOnlyMode = optional(
  oneOf(['retain', 'read-only', 'read-write'], 'a CD-ROM is read-only', {
    name: 'BlockdevChangeReadOnlyMode',
  }),
);

/** QEMU's older clients say `device`, the newer ones `id`. */
function driveNamed({ device, id }: { device?: string; id?: string }): string {
  if (device !== undefined && id !== undefined)
    throw new VmError("The parameters 'device' and 'id' are in conflict");
  const name = device ?? id;
  if (name === undefined) throw new VmError("Either 'device' or 'id' must be specified");
  return name;
}

function checkMode(mode: string | undefined): void {
  if (mode === 'read-write') throw new VmError('read-only-mode: a CD-ROM is read-only');
}

export const mediaCommands = [
  command({
    name: 'eject',
    since: '0.1',
    summary: 'open the tray of a CD-ROM drive and take the medium out',
    examples: ['eject ide1-cd0', 'eject -f ide1-cd0'],
    notes: ['A guest that has locked the tray is asked; -f does not wait for it.'],
    args: { ...named, force },
    run: ({ block }, { force: forced, ...drive }) => block.media.eject(driveNamed(drive), forced),
    hmp: hmp(
      { force, device: str('the drive', { complete: 'block-nodes' }) },
      async ({ block }, { force: forced, device }) => {
        await block.media.eject(device, forced);
        return undefined;
      },
    ),
  }),
  hmpCommand({
    name: 'change',
    since: '0.1',
    summary: 'put another medium into a CD-ROM drive; or set the password that VNC asks for',
    examples: ['change ide1-cd0 /images/other.iso', 'change vnc password secret'],
    args: {
      force,
      device: str('the drive; or vnc', { complete: 'block-nodes' }),
      target: str('the file; of vnc the word password', { complete: 'files' }),
      arg: optional(str('format of the file, raw or qcow2; of vnc the password')),
      'read-only-mode': readOnlyMode,
    },
    run: async (vm, { force: forced, device, target, arg, 'read-only-mode': mode }) => {
      if (device === 'vnc') {
        if (target !== 'password' || arg === undefined)
          throw new VmError('of VNC only the password is changed: change vnc password WORD');
        vncServerOf(vm).setPassword(arg);
        return undefined;
      }
      checkMode(mode);
      await vm.block.media.change(device, { filename: target, format: arg }, forced);
      return undefined;
    },
  }),
  command({
    name: 'blockdev-change-medium',
    since: '0.1',
    monitors: 'qmp',
    summary: 'open the tray, put another medium into it, and close it',
    examples: ['{"id": "ide-cd2", "filename": "/images/other.iso"}'],
    args: {
      ...named,
      filename: str('the file'),
      format: optional(str('raw or qcow2; default raw')),
      force,
      'read-only-mode': readOnlyMode,
    },
    run: async ({ block }, { filename, format, force: forced, ...more }) => {
      checkMode(more['read-only-mode']);
      await block.media.change(driveNamed(more), { filename, format }, forced);
    },
  }),
  command({
    name: 'blockdev-open-tray',
    since: '0.1',
    monitors: 'qmp',
    summary: 'open the tray of a CD-ROM drive, or ask the guest that has locked it',
    examples: ['{"id": "ide-cd2"}'],
    args: { ...named, force },
    run: ({ block }, { force: forced, ...drive }) =>
      block.media.openTray(driveNamed(drive), forced),
  }),
  command({
    name: 'blockdev-close-tray',
    since: '0.1',
    monitors: 'qmp',
    summary: 'close the tray of a CD-ROM drive',
    examples: ['{"id": "ide-cd2"}'],
    args: named,
    run: ({ block }, drive) => block.media.closeTray(driveNamed(drive)),
  }),
  command({
    name: 'blockdev-remove-medium',
    since: '0.1',
    monitors: 'qmp',
    summary: 'take the medium out of a tray that is open',
    examples: ['{"id": "ide-cd2"}'],
    args: { id: inFront },
    run: ({ block }, { id }) => block.media.remove(id),
  }),
  command({
    name: 'blockdev-insert-medium',
    since: '0.1',
    monitors: 'qmp',
    summary: 'put a node into a tray that is open and empty',
    examples: ['{"id": "ide-cd2", "node-name": "iso0"}'],
    args: { id: inFront, 'node-name': str('the node', { complete: 'block-nodes' }) },
    run: ({ block }, { id, 'node-name': node }) => block.media.insert(id, node),
  }),
];
