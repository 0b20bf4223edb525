/** Block jobs and dirty bitmaps: how they are, and what is done to them. */
import type { JobInfo } from '../../block/jobs/contract.js';
import type { BlockLayer } from '../../block/layer/layer.js';
import type { BlockNode } from '../../block/contract/node.js';
import { jobStatuses, jobTypes } from '../../qapi/types.js';
import type { Vm } from '../../vm/vm.js';
import {
  bool,
  flag,
  int,
  list,
  oneOf,
  optional,
  size,
  str,
  type TypeOf,
} from '../../words/types.js';
import { answersOf } from '../answer.js';
import { command, type Command, hmp } from '../schema.js';
import { startCommands } from './start-jobs.js';

const SINCE = '0.2';
const device = str('drive or node', { complete: 'block-nodes' });
const job = ({ block }: Vm, id: string) => block.jobs.get(id);

const of = answersOf<JobInfo>();
const type = of.fact(oneOf(jobTypes, '', { name: 'JobType' }), j => j.type);
const status = of.fact(oneOf(jobStatuses, '', { name: 'JobStatus' }), j => j.status);
const error = of.fact(optional(str()), j => j.error);
const blockJobInfo = of.answer('BlockJobInfo', {
  type,
  device: of.fact(str(), j => j.id),
  len: of.fact(int(), j => j.len),
  offset: of.fact(int(), j => j.offset),
  busy: of.fact(bool(), j => j.busy),
  paused: of.fact(bool(), j => j.paused),
  speed: of.fact(int(), j => j.speed),
  'io-status': of.fact(
    oneOf(['ok', 'failed', 'nospace'], '', { name: 'BlockDeviceIoStatus' }),
    j => j.ioStatus,
  ),
  ready: of.fact(bool(), j => j.ready),
  status,
  'auto-finalize': of.fact(bool(), j => j.autoFinalize),
  'auto-dismiss': of.fact(bool(), j => j.autoDismiss),
  error,
});
const anyJobInfo = of.answer('JobInfo', {
  id: of.fact(str(), j => j.id),
  type,
  status,
  'current-progress': of.fact(int(), j => j.offset),
  'total-progress': of.fact(int(), j => j.len),
  error,
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

const ONE_JOB = '{"id": "mirror0"}';
const ONE_BITMAP = '{"node": "node0", "name": "changed"}';

const id = str('the job', { complete: 'block-jobs' });

const verbs: Command[] = [
  command({
    name: 'query-block-jobs',
    hmpName: 'info block-jobs',
    aliases: ['info block_jobs'],
    since: SINCE,
    summary: 'show the block jobs',
    returns: list(blockJobInfo.type),
    run: vm => vm.block.jobs.query().map(blockJobInfo.from),
    show: all => all.map(showJob).join('\n') || 'No active jobs',
  }),
  command({
    name: 'query-jobs',
    since: SINCE,
    monitors: 'qmp',
    summary: 'show the jobs and how far they are',
    returns: list(anyJobInfo.type),
    run: vm => vm.block.jobs.query().map(anyJobInfo.from),
  }),
  command({
    name: 'block-job-set-speed',
    since: SINCE,
    summary: 'change how fast a job may go',
    examples: ['block_job_set_speed disk0 10M'],
    args: { device: id, speed: int('bytes per second; 0: no limit', { min: 0 }) },
    run: (vm, a) => job(vm, a.device).setSpeed(a.speed),
    hmp: hmp(
      { device: id, speed: size('bytes per second; 0: no limit') },
      (vm, a) => void job(vm, a.device).setSpeed(a.speed),
    ),
  }),
  command({
    name: 'block-job-cancel',
    since: SINCE,
    summary: 'end a job; one that is ready leaves its target as a copy of this moment',
    examples: ['block_job_cancel -f disk0'],
    args: { force: flag('f', 'at once, also if it is ready or paused'), device: id },
    run: (vm, a) => job(vm, a.device).cancel(a.force ?? false),
  }),
  ...(['pause', 'resume', 'complete'] as const).map(verb =>
    command({
      name: `block-job-${verb}`,
      since: SINCE,
      summary: summaries[verb],
      examples: [`block_job_${verb} disk0`],
      args: { device: id },
      run: (vm, a) => job(vm, a.device)[verb](),
    }),
  ),
  ...(['finalize', 'dismiss'] as const).map(verb =>
    command({
      name: `block-job-${verb}`,
      since: SINCE,
      monitors: 'qmp',
      summary: summaries[verb],
      examples: [ONE_JOB],
      args: { id },
      run: (vm, a) => job(vm, a.id)[verb](),
    }),
  ),
  ...(['pause', 'resume', 'complete', 'finalize', 'dismiss'] as const).map(verb =>
    command({
      name: `job-${verb}`,
      since: SINCE,
      monitors: 'qmp',
      summary: summaries[verb],
      examples: [ONE_JOB],
      args: { id },
      run: (vm, a) => job(vm, a.id)[verb](),
    }),
  ),
  command({
    name: 'job-cancel',
    since: SINCE,
    monitors: 'qmp',
    summary: 'end a job at once; its target is not to be used',
    examples: [ONE_JOB],
    args: { id },
    run: (vm, a) => job(vm, a.id).cancel(true),
  }),
];

const nodeOf = ({ block }: Vm, name: string) => block.find(name).node;
const bitmapArgs = { node: device, name: str('of the bitmap') };
const bitmapCommand = (
  verb: 'remove' | 'clear' | 'enable' | 'disable',
  act: (block: BlockLayer, node: BlockNode, name: string) => void,
) =>
  command({
    name: `block-dirty-bitmap-${verb}`,
    since: SINCE,
    monitors: 'qmp',
    summary: summaries[verb],
    examples: [ONE_BITMAP],
    args: bitmapArgs,
    run: (vm, a) => act(vm.block, nodeOf(vm, a.node), a.name),
  });
const bitmaps: Command[] = [
  command({
    name: 'block-dirty-bitmap-add',
    since: SINCE,
    monitors: 'qmp',
    summary: 'note from now on what is written to a disk, for an incremental backup',
    examples: [ONE_BITMAP],
    args: {
      ...bitmapArgs,
      granularity: optional(int('bytes for each bit, a power of two; 64 KiB', { min: 512 })),
      disabled: optional(bool('note nothing until it is enabled')),
    },
    run: (vm, a) =>
      vm.block.bitmaps.add(nodeOf(vm, a.node), a.name, {
        granularity: a.granularity,
        disabled: a.disabled ?? false,
      }),
  }),
  ...(['remove', 'clear'] as const).map(verb =>
    bitmapCommand(verb, ({ bitmaps: all }, node, name) => all[verb](node, name)),
  ),
  ...(['enable', 'disable'] as const).map(verb =>
    bitmapCommand(verb, ({ bitmaps: all }, node, name) =>
      all.setRecording(node, name, verb === 'enable'),
    ),
  ),
];

export const jobCommands: Command[] = [...startCommands, ...verbs, ...bitmaps];

function showJob(job: TypeOf<typeof blockJobInfo.type>): string {
  const { 'io-status': ioStatus, paused, status } = job;
  const state =
    ioStatus !== 'ok'
      ? `, stopped by an error (${ioStatus})`
      : paused
        ? ', paused'
        : status === 'ready'
          ? ', ready'
          : '';
  return (
    `Type ${job.type}, device ${job.device}: Completed ${job.offset} of ${job.len} bytes, ` +
    `speed limit ${job.speed} bytes/s${state}`
  );
}
