/**
 * A layer with disks for job tests: a guest in front, targets behind, and a clock that runs
 * whenever nothing else does.
 */
import { Events } from '../../src/base/events.js';
import { BlockLayer } from '../../src/block/layer/layer.js';
import { parseDrive } from '../../src/block/options/options.js';
import { createImage } from '../../src/block/image/open.js';
import { defaultCreateOptions } from '../../src/block/drivers/qcow2/create.js';
import type { QmpEvents } from '../../src/qapi/types.js';
import { testHost, turn } from './block-host.js';

export const KiB = 1024;

const watched = [
  'BLOCK_JOB_READY',
  'BLOCK_JOB_COMPLETED',
  'BLOCK_JOB_CANCELLED',
  'BLOCK_JOB_ERROR',
  'BLOCK_JOB_PENDING',
  'JOB_STATUS_CHANGE',
] as const;

export function jobBench() {
  const host = testHost();
  const events = new Events<QmpEvents>();
  const layer = new BlockLayer(host, events);
  const log: { name: string; data: Record<string, unknown> }[] = [];
  for (const name of watched) events.on(name, data => void log.push({ name, data: { ...data } }));
  return {
    host,
    events,
    layer,
    log,
    named: (name: string) => log.filter(entry => entry.name === name).map(entry => entry.data),
    /** A drive with a guest in front. */
    async disk(options: string) {
      const { id } = await layer.addDrive(parseDrive(options));
      return layer.claim(id, `dev-${id}`);
    },
    qcow2: (path: string, size: number, backing?: string, clusterSize = 65536) =>
      createImage(host, path, 'qcow2', {
        ...defaultCreateOptions,
        clusterSize,
        size,
        backingFile: backing,
        backingFormat: backing === undefined ? undefined : 'qcow2',
      }),
    /** Lets time go on until it is so. */
    async until(what: () => boolean, limitMs = 20_000) {
      for (let ms = 0; !what(); ms += 10) {
        if (ms > limitMs)
          throw new Error(`it never came about: ${JSON.stringify(layer.jobs.query())}`);
        for (let n = 0; n < 4; n++) await turn();
        if (!what()) await host.clock.advance(10);
      }
    },
    job: (id: string) => layer.jobs.query().find(job => job.id === id),
  };
}
