/** Block jobs and dirty bitmaps: copying, committing and backing up disks while the guest runs. */
import { errorPolicies } from '../../block/jobs/contract.js';
import { jobStatuses, jobTypes } from '../../qapi/types.js';
import { VmError } from '../../base/errors.js';
import { command, type Command, hmp, part } from '../schema.js';
import { bool, flag, int, list, oneOf, optional, size, str, struct } from '../../words/types.js';
import type { JobInfo, VmControl } from '../vm.js';

const since = '0.2';
const feature = 'jobs' as const;
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

const jobs = (vm: VmControl) => part(vm, 'jobs');
const speedSize = optional(size('bytes per second', 'B'));

const blockJobInfo = struct('BlockJobInfo', {
  type: oneOf(jobTypes, '', { name: 'JobType' }),
  device: str(),
  len: int(),
  offset: int(),
  busy: bool(),
  paused: bool(),
  speed: int(),
  'io-status': oneOf(['ok', 'failed', 'nospace'], '', { name: 'BlockDeviceIoStatus' }),
  ready: bool(),
  status: oneOf(jobStatuses, '', { name: 'JobStatus' }),
  'auto-finalize': bool(),
  'auto-dismiss': bool(),
  error: optional(str()),
});
const anyJobInfo = struct('JobInfo', {
  id: str(),
  type: oneOf(jobTypes, '', { name: 'JobType' }),
  status: oneOf(jobStatuses, '', { name: 'JobStatus' }),
  'current-progress': int(),
  'total-progress': int(),
  error: optional(str()),
});

const summaries = {
  pause: 'let a job stand still',
  resume: 'let a job go on that was paused, or stopped by an error',
  complete: 'end a job that is ready: its target becomes the disk',
  finalize: 'let the result of a job count (auto-finalize=false)',
  dismiss: 'forget a job that is over (auto-dismiss=false)',
  remove: 'forget a dirty bitmap',
  clear: 'nothing is marked in a dirty bitmap any more',
  enable: 'a dirty bitmap notes what is written',
  disable: 'a dirty bitmap notes nothing more',
} as const;

const oneJob = '{"id": "mirror0"}';
const oneBitmap = '{"node": "node0", "name": "changed"}';

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
}) => ({
  device: a.device,
  sync: a.full ? ('full' as const) : ('top' as const),
  target: {
    target: a.target,
    format: a.format,
    mode: a.existing ? ('existing' as const) : ('absolute-paths' as const),
  },
});

const starts: Command[] = [
  command({
    name: 'drive-mirror',
    since,
    feature,
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
      return jobs(vm).mirror({
        ...a,
        target: {
          target: a.target,
          format: a.format,
          nodeName: a['node-name'],
          mode: a.mode ?? 'absolute-paths',
        },
      });
    },
    hmp: hmp({ ...copyFlags, ...copyArgs }, async (vm, a) => {
      await jobs(vm).mirror(driveCopy(a));
      return undefined;
    }),
  }),
  command({
    name: 'blockdev-mirror',
    since,
    feature,
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
      return jobs(vm).mirror(a);
    },
  }),
  command({
    name: 'drive-backup',
    since,
    feature,
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
    run: (vm, a) =>
      jobs(vm).backup({
        ...a,
        target: {
          target: a.target,
          format: a.format,
          nodeName: a['node-name'],
          mode: a.mode ?? 'absolute-paths',
        },
      }),
    hmp: hmp(
      { ...copyFlags, compress: flag('c', 'pack the clusters of the target: qcow2'), ...copyArgs },
      async (vm, a) => {
        await jobs(vm).backup({ ...driveCopy(a), compress: a.compress });
        return undefined;
      },
    ),
  }),
  command({
    name: 'blockdev-backup',
    since,
    feature,
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
    run: (vm, a) => jobs(vm).backup(a),
  }),
  command({
    name: 'block-commit',
    since,
    feature,
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
    run: (vm, a) => jobs(vm).commit(a),
  }),
  command({
    name: 'block-stream',
    since,
    feature,
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
    run: (vm, a) => jobs(vm).stream(a),
    hmp: hmp(
      { device, speed: speedSize, base: optional(str('image that stays below, by file name')) },
      async (vm, a) => {
        await jobs(vm).stream(a);
        return undefined;
      },
    ),
  }),
];

const id = str('the job', { complete: 'block-jobs' });

const verbs: Command[] = [
  command({
    name: 'query-block-jobs',
    hmpName: 'info block-jobs',
    aliases: ['info block_jobs'],
    since,
    feature,
    summary: 'show the block jobs',
    returns: list(blockJobInfo),
    run: vm =>
      jobs(vm)
        .list()
        .map(({ id: job, ioStatus, autoFinalize, autoDismiss, ...rest }) => ({
          device: job,
          'io-status': ioStatus,
          'auto-finalize': autoFinalize,
          'auto-dismiss': autoDismiss,
          ...rest,
        })),
    show: (_all, vm) => jobs(vm).list().map(showJob).join('\n') || 'No active jobs',
  }),
  command({
    name: 'query-jobs',
    since,
    feature,
    monitors: 'qmp',
    summary: 'show the jobs and how far they are',
    returns: list(anyJobInfo),
    run: vm =>
      jobs(vm)
        .list()
        .map(({ id: job, type, status, offset, len, error }) => ({
          id: job,
          type,
          status,
          'current-progress': offset,
          'total-progress': len,
          ...(error !== undefined && { error }),
        })),
  }),
  command({
    name: 'block-job-set-speed',
    since,
    feature,
    summary: 'change how fast a job may go',
    examples: ['block_job_set_speed disk0 10M'],
    args: { device: id, speed: int('bytes per second; 0: no limit', { min: 0 }) },
    run: (vm, a) => jobs(vm).setSpeed(a.device, a.speed),
    hmp: hmp(
      { device: id, speed: size('bytes per second; 0: no limit') },
      (vm, a) => void jobs(vm).setSpeed(a.device, a.speed),
    ),
  }),
  command({
    name: 'block-job-cancel',
    since,
    feature,
    summary: 'end a job; one that is ready leaves its target as a copy of this moment',
    examples: ['block_job_cancel -f disk0'],
    args: { force: flag('f', 'at once, also if it is ready or paused'), device: id },
    run: (vm, a) => jobs(vm).cancel(a.device, a.force ?? false),
  }),
  ...(['pause', 'resume', 'complete'] as const).map(verb =>
    command({
      name: `block-job-${verb}`,
      since,
      feature,
      summary: summaries[verb],
      examples: [`block_job_${verb} disk0`],
      args: { device: id },
      run: (vm, a) => jobs(vm)[verb](a.device),
    }),
  ),
  ...(['finalize', 'dismiss'] as const).map(verb =>
    command({
      name: `block-job-${verb}`,
      since,
      feature,
      monitors: 'qmp',
      summary: summaries[verb],
      examples: [oneJob],
      args: { id },
      run: (vm, a) => jobs(vm)[verb](a.id),
    }),
  ),
  ...(['pause', 'resume', 'complete', 'finalize', 'dismiss'] as const).map(verb =>
    command({
      name: `job-${verb}`,
      since,
      feature,
      monitors: 'qmp',
      summary: summaries[verb],
      examples: [oneJob],
      args: { id },
      run: (vm, a) => jobs(vm)[verb](a.id),
    }),
  ),
  command({
    name: 'job-cancel',
    since,
    feature,
    monitors: 'qmp',
    summary: 'end a job at once; its target is not to be used',
    examples: [oneJob],
    args: { id },
    run: (vm, a) => jobs(vm).cancel(a.id, true),
  }),
];

const bitmapArgs = { node: device, name: str('of the bitmap') };
const bitmaps: Command[] = [
  command({
    name: 'block-dirty-bitmap-add',
    since,
    feature,
    monitors: 'qmp',
    summary: 'note from now on what is written to a disk, for an incremental backup',
    examples: [oneBitmap],
    args: {
      ...bitmapArgs,
      granularity: optional(int('bytes for each bit, a power of two; 64 KiB', { min: 512 })),
      disabled: optional(bool('note nothing until it is enabled')),
    },
    run: (vm, a) =>
      jobs(vm).bitmaps.add(a.node, a.name, {
        granularity: a.granularity,
        disabled: a.disabled ?? false,
      }),
  }),
  ...(['remove', 'clear', 'enable', 'disable'] as const).map(verb =>
    command({
      name: `block-dirty-bitmap-${verb}`,
      since,
      feature,
      monitors: 'qmp',
      summary: summaries[verb],
      examples: [oneBitmap],
      args: bitmapArgs,
      run: (vm, a) => jobs(vm).bitmaps[verb](a.node, a.name),
    }),
  ),
];

export const jobCommands: Command[] = [...starts, ...verbs, ...bitmaps];

function showJob({
  type,
  id: job,
  offset,
  len,
  speed: limit,
  status,
  paused,
  ioStatus,
}: JobInfo): string {
  const state =
    ioStatus !== 'ok'
      ? `, stopped by an error (${ioStatus})`
      : paused
        ? ', paused'
        : status === 'ready'
          ? ', ready'
          : '';
  return (
    `Type ${type}, device ${job}: Completed ${offset} of ${len} bytes, speed limit ${limit} ` +
    `bytes/s${state}`
  );
}
