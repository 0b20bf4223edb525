/** Block jobs and dirty bitmaps of the block layer. */
import { startCommit, startStream } from '../../block/jobs/start-commit.js';
import { startBackup, startMirror } from '../../block/jobs/start.js';
import type { BlockLayer } from '../../block/layer/layer.js';
import type { ChainJob, CopyJob, JobCommon, JobControl } from '../vm.js';

export function jobControl(block: BlockLayer): JobControl {
  const { jobs, bitmaps, ground } = block;
  const node = (name: string) => block.find(name).node;
  return {
    mirror: async job => void (await startMirror(ground, copy(job))),
    backup: async job => void (await startBackup(ground, copy(job))),
    commit: async job =>
      void (await startCommit(ground, { ...chain(job), top: job.top, topNode: job['top-node'] })),
    stream: async job => void (await startStream(ground, chain(job))),
    list: () => jobs.query(),
    setSpeed: (id, speed) => jobs.get(id).setSpeed(speed),
    cancel: (id, force) => jobs.get(id).cancel(force),
    pause: id => jobs.get(id).pause(),
    resume: id => jobs.get(id).resume(),
    complete: id => jobs.get(id).complete(),
    finalize: id => jobs.get(id).finalize(),
    dismiss: id => jobs.get(id).dismiss(),
    bitmaps: {
      add: (of, name, how) => bitmaps.add(node(of), name, how),
      remove: (of, name) => bitmaps.remove(node(of), name),
      clear: (of, name) => bitmaps.clear(node(of), name),
      enable: (of, name) => bitmaps.setRecording(node(of), name, true),
      disable: (of, name) => bitmaps.setRecording(node(of), name, false),
    },
  };
}

const common = (job: JobCommon) => ({
  device: job.device,
  jobId: job['job-id'],
  speed: job.speed,
  autoFinalize: job['auto-finalize'],
  autoDismiss: job['auto-dismiss'],
});

const chain = (job: ChainJob) => ({
  ...common(job),
  base: job.base,
  baseNode: job['base-node'],
  backingFile: job['backing-file'],
  onError: job['on-error'],
});

const copy = (job: CopyJob) => ({
  ...common(job),
  sync: job.sync,
  bitmap: job.bitmap,
  bitmapMode: job['bitmap-mode'],
  compress: job.compress,
  granularity: job.granularity,
  onSourceError: job['on-source-error'],
  onTargetError: job['on-target-error'],
  target: job.target,
});
