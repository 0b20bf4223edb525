/** Block jobs: what starts them. */
import { VmError } from '../../base/errors.js';
import { type ErrorPolicy, errorPolicies } from '../../block/contract/backend.js';
import { startCommit, startStream } from '../../block/jobs/start-commit.js';
import { type CopyJobOptions, startBackup, startMirror } from '../../block/jobs/start.js';
import type { TargetOptions } from '../../block/jobs/target.js';
import type { Vm } from '../../vm/vm.js';
import { bool, flag, int, oneOf, optional, size, str } from '../../words/types.js';
import { command, type Command, hmp } from '../schema.js';

const SINCE = '0.2';
const device = str('drive or node', { complete: 'block-nodes' });
const jobId = optional(str('name of the job; default: the drive'));
const policy = (of: string) =>
  optional(oneOf(errorPolicies, `what a failed ${of} does`, { name: 'BlockdevOnError' }));
const speed = optional(int('bytes per second; 0: no limit', { min: 0 }));
const ending = {
  'auto-finalize': optional(bool('false: the result counts after job-finalize')),
  'auto-dismiss': optional(bool('false: the job stays until job-dismiss')),
};
const errors = { 'on-source-error': policy('read'), 'on-target-error': policy('write') };
const newTarget = {
  target: str('file, or nbd://HOST:PORT/EXPORT'),
  format: optional(str('of the target: raw or qcow2')),
  'node-name': optional(str('of the target')),
  mode: optional(
    oneOf(['existing', 'absolute-paths'], 'whether the target is there or is made', {
      name: 'NewImageMode',
    }),
  ),
};
const bitmap = {
  bitmap: optional(str('with sync=incremental or bitmap: the dirty bitmap')),
  'bitmap-mode': optional(
    oneOf(['on-success', 'never', 'always'], 'when the bitmap forgets what was copied', {
      name: 'BitmapSyncMode',
    }),
  ),
};
const sync = oneOf(
  ['full', 'top', 'none', 'incremental', 'bitmap'],
  'what to copy: all, what the top image holds, only new writes, what a bitmap marks',
  { name: 'MirrorSyncMode' },
);
const granularity = optional(
  int('unit of copying, a power of two; 64 KiB unless the target has larger clusters', {
    min: 512,
    max: 64 * 1024 * 1024,
  }),
);

/** QEMU's ways of a mirror, of which colo has one each. */
const ways = {
  'copy-mode': optional(
    oneOf(
      ['background', 'write-blocking'],
      'only background: a write of the guest is marked, and copied later',
      { name: 'MirrorCopyMode' },
    ),
  ),
  unmap: optional(bool('only true: zeroes take no room in the target where it can do without')),
  replaces: optional(str('not offered: the target takes the place of the device')),
};

function requireOurWay(a: { 'copy-mode'?: string; unmap?: boolean; replaces?: string }): void {
  if (a['copy-mode'] === 'write-blocking')
    throw new VmError(
      "Parameter 'copy-mode': write-blocking is not offered, for a slow target would slow the " +
        'guest',
      {
        hint:
          'With background a mirror that is ready is completed within five seconds of rest, or ' +
          'tries again.',
      },
    );
  if (a.unmap === false)
    throw new VmError(
      "Parameter 'unmap': false is not offered: zeroes take no room in the target where it " +
        'can do without',
    );
  if (a.replaces !== undefined)
    throw new VmError(
      "Parameter 'replaces' is not offered: the target takes the place of the device",
      { hint: 'A child of a quorum is mirrored, and replaced, by the name of its node.' },
    );
}

const compress = optional(bool('pack the clusters of the target: qcow2'));

const speedSize = optional(size('bytes per second', 'B'));

/** As QMP spells them. */
interface Common {
  readonly device: string;
  readonly 'job-id'?: string;
  readonly speed?: number;
  readonly 'auto-finalize'?: boolean;
  readonly 'auto-dismiss'?: boolean;
}
interface Copy
  extends Common, Pick<CopyJobOptions, 'sync' | 'bitmap' | 'compress' | 'granularity'> {
  readonly 'bitmap-mode'?: CopyJobOptions['bitmapMode'];
  readonly 'on-source-error'?: ErrorPolicy;
  readonly 'on-target-error'?: ErrorPolicy;
}
interface Chain extends Common {
  readonly base?: string;
  readonly 'base-node'?: string;
  readonly 'backing-file'?: string;
  readonly 'on-error'?: ErrorPolicy;
}

const common = (a: Common) => ({
  device: a.device,
  jobId: a['job-id'],
  speed: a.speed,
  autoFinalize: a['auto-finalize'],
  autoDismiss: a['auto-dismiss'],
});

const chain = (a: Chain) => ({
  ...common(a),
  base: a.base,
  baseNode: a['base-node'],
  backingFile: a['backing-file'],
  onError: a['on-error'],
});

const copyOf = (a: Copy, target: CopyJobOptions['target']): CopyJobOptions => ({
  ...common(a),
  sync: a.sync,
  bitmap: a.bitmap,
  bitmapMode: a['bitmap-mode'],
  compress: a.compress,
  granularity: a.granularity,
  onSourceError: a['on-source-error'],
  onTargetError: a['on-target-error'],
  target,
});

const newImage = (a: {
  target: string;
  format?: string;
  'node-name'?: string;
  mode?: TargetOptions['mode'];
}): TargetOptions => ({
  target: a.target,
  format: a.format,
  nodeName: a['node-name'],
  mode: a.mode ?? 'absolute-paths',
});

async function mirror({ block }: Vm, a: Copy, target: CopyJobOptions['target']): Promise<void> {
  await startMirror(block.startContext, copyOf(a, target));
}

async function backup({ block }: Vm, a: Copy, target: CopyJobOptions['target']): Promise<void> {
  await startBackup(block.startContext, copyOf(a, target));
}

const copyFlags = {
  existing: flag('n', 'the target is there already'),
  full: flag('f', 'copy the whole disk, not only what its top image holds'),
};
const copyArgs = { device, target: newTarget.target, format: newTarget.format };

/** What the lines of drive_mirror and drive_backup say. */
const driveCopy = (a: {
  existing?: boolean;
  full?: boolean;
  device: string;
  target: string;
  format?: string;
}): [Copy, TargetOptions] => [
  { device: a.device, sync: a.full ? 'full' : 'top' },
  {
    target: a.target,
    format: a.format,
    mode: a.existing ? 'existing' : 'absolute-paths',
  },
];

export const startCommands: Command[] = [
  command({
    name: 'drive-mirror',
    since: SINCE,
    summary: 'copy a disk to a file or an NBD export, and keep both alike until told how it ends',
    examples: ['drive_mirror -f disk0 /images/copy.qcow2 qcow2'],
    notes: [
      'BLOCK_JOB_READY says that they are alike. block_job_complete then makes the target the ' +
        'disk; block_job_cancel leaves it as a copy of that moment.',
    ],
    args: {
      'job-id': jobId,
      device,
      ...newTarget,
      sync,
      ...bitmap,
      speed,
      granularity,
      ...ways,
      ...errors,
      ...ending,
    },
    run: (vm, a) => {
      requireOurWay(a);
      return mirror(vm, a, newImage(a));
    },
    hmp: hmp({ ...copyFlags, ...copyArgs }, async (vm, a) => {
      await mirror(vm, ...driveCopy(a));
      return undefined;
    }),
  }),
  command({
    name: 'blockdev-mirror',
    since: SINCE,
    monitors: 'qmp',
    summary: 'copy a disk to a node, and keep both alike until told how it ends',
    examples: ['{"job-id": "mirror0", "device": "node0", "target": "copy0", "sync": "full"}'],
    args: {
      'job-id': jobId,
      device,
      target: str('node', { complete: 'block-nodes' }),
      sync,
      ...bitmap,
      speed,
      granularity,
      ...ways,
      ...errors,
      ...ending,
    },
    run: (vm, a) => {
      requireOurWay(a);
      return mirror(vm, a, a.target);
    },
  }),
  command({
    name: 'drive-backup',
    since: SINCE,
    summary:
      'copy a disk as it is now to a file or an NBD export, whatever the guest writes meanwhile',
    examples: ['drive_backup -f disk0 /images/backup.qcow2 qcow2'],
    notes: [
      'A write of the guest waits until its old content is in the target. If that takes more ' +
        'than five seconds the backup fails, and the guest goes on.',
    ],
    args: {
      'job-id': jobId,
      device,
      ...newTarget,
      sync,
      ...bitmap,
      speed,
      compress,
      ...errors,
      ...ending,
    },
    run: (vm, a) => backup(vm, a, newImage(a)),
    hmp: hmp(
      { ...copyFlags, compress: flag('c', 'pack the clusters of the target: qcow2'), ...copyArgs },
      async (vm, a) => {
        const [copy, target] = driveCopy(a);
        await backup(vm, { ...copy, compress: a.compress }, target);
        return undefined;
      },
    ),
  }),
  command({
    name: 'blockdev-backup',
    since: SINCE,
    monitors: 'qmp',
    summary: 'copy a disk as it is now to a node, whatever the guest writes meanwhile',
    examples: ['{"job-id": "backup0", "device": "node0", "target": "copy0", "sync": "full"}'],
    args: {
      'job-id': jobId,
      device,
      target: str('node', { complete: 'block-nodes' }),
      sync,
      ...bitmap,
      speed,
      compress,
      ...errors,
      ...ending,
    },
    run: (vm, a) => backup(vm, a, a.target),
  }),
  command({
    name: 'block-commit',
    since: SINCE,
    monitors: 'qmp',
    summary: 'move what images of a backing chain hold down into a base image',
    examples: ['{"job-id": "commit0", "device": "disk0"}'],
    notes: [
      'Of the disk itself it becomes ready like a mirror, and block-job-complete makes the ' +
        'base the disk.',
    ],
    args: {
      'job-id': jobId,
      device,
      'base-node': optional(str('node that receives; the lowest')),
      base: optional(str('the same by file name')),
      'top-node': optional(str('highest node that is moved; the disk')),
      top: optional(str('the same by file name')),
      'backing-file': optional(str('what the image above calls its new backing file')),
      speed,
      'on-error': policy('request'),
      ...ending,
    },
    run: async ({ block }, a) =>
      void (await startCommit(block.startContext, {
        ...chain(a),
        top: a.top,
        topNode: a['top-node'],
      })),
  }),
  command({
    name: 'block-stream',
    since: SINCE,
    summary: 'take over what a disk reads from the images below it, and do without them',
    examples: ['block_stream disk0 10M'],
    args: {
      'job-id': jobId,
      device,
      base: optional(str('image that stays below, by file name')),
      'base-node': optional(str('the same by node')),
      'backing-file': optional(str('what the image calls its new backing file')),
      speed,
      'on-error': policy('request'),
      ...ending,
    },
    run: async ({ block }, a) => void (await startStream(block.startContext, chain(a))),
    hmp: hmp(
      { device, speed: speedSize, base: optional(str('image that stays below, by file name')) },
      async (vm, a) => {
        await startStream(vm.block.startContext, chain(a));
        return undefined;
      },
    ),
  }),
];
