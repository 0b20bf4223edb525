/** COLO: how it is, and what to do when the peer is lost. */
import { VmError } from '../../base/errors.js';
import type { DiskOutcome } from '../../colo/disk-sync.js';
import type { ColoInfo } from '../../colo/info.js';
import type { ColoStatistics } from '../../colo/statistics.js';
import { PAGE_BYTES } from '../../migration/pages.js';
import { coloExitReasons, coloModes } from '../../qapi/types.js';
import { int, list, num, oneOf, optional, str, struct } from '../../words/types.js';
import { answersOf } from '../answer.js';
import { ageText } from '../health.js';
import { pairs } from '../hmp/table.js';
import { command } from '../schema.js';

const mode = oneOf(coloModes, '', { name: 'COLOMode' });
const rounded = (ms: number | undefined) => (ms === undefined ? undefined : Math.round(ms));
const ofStatistics = answersOf<ColoStatistics>();
const ofColo = answersOf<ColoInfo>();

const typical = (of: ColoStatistics, measure: 'pages' | 'ramBytes' | 'pauseMs', p = 0.5) =>
  of.percentile(measure, p) ?? 0;

/** Of the primary, since COLO was entered. */
const statistics = ofStatistics.answer('COLOStatistics', {
  checkpoints: ofStatistics.fact(int(), s => s.done, 'checkpoints'),
  pauseMs: ofStatistics.fact(
    struct('COLOPause', { p50: num(), p99: num() }),
    s => ({ p50: typical(s, 'pauseMs'), p99: typical(s, 'pauseMs', 0.99) }),
    ({ p50, p99 }) => `pause: p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`,
  ),
  pagesPerCheckpoint: ofStatistics.fact(
    num(),
    s => typical(s, 'pages'),
    (pages, { bytesPerCheckpoint: bytes }) =>
      `per checkpoint: ${Math.round(pages)} pages, ${Math.round(Number(bytes))} bytes`,
  ),
  bytesPerCheckpoint: ofStatistics.fact(num(), s => typical(s, 'ramBytes')),
  bytesPerDirtyByte: ofStatistics.fact(
    num('sent for each byte of the dirty pages'),
    s => s.ratio('ramBytes', 'pages') / PAGE_BYTES,
    (bytes, { cacheHitRate: hits }) =>
      `sent for each dirty byte: ${bytes.toFixed(2)} bytes, ` +
      `${Math.round(Number(hits) * 100)} % of the pages from what changed (xbzrle-cache-size)`,
  ),
  cacheHitRate: ofStatistics.fact(
    num('of the dirty pages: those whose former content was in the cache of sent pages'),
    s => s.ratio('cacheHits', 'pages'),
  ),
});

const ofDisk = answersOf<DiskOutcome>();
const ways = { bitmaps: 'by bitmaps', checksums: 'by checksums', vouched: 'not compared' } as const;
/** How a disk was brought into step, in bytes of the disk. */
const disk = ofDisk.answer('COLODisk', {
  disk: ofDisk.fact(str(), d => d.disk),
  way: ofDisk.fact(
    oneOf(['bitmaps', 'checksums', 'vouched'], '', { name: 'COLODiskWay' }),
    d => d.way,
    (way, { disk: name, why, looked, copied }) =>
      `disk ${String(name)}: ${ways[way]}, ${Number(looked)} bytes looked at, ` +
      `${Number(copied)} copied${why === undefined ? '' : ` (${String(why as string)})`}`,
  ),
  why: ofDisk.fact(optional(str('why the bitmaps were not used')), d => d.why),
  looked: ofDisk.fact(int('read on each side'), d => d.lookedBytes),
  different: ofDisk.fact(int(), d => d.differentBytes),
  copied: ofDisk.fact(int('with what the guest wrote meanwhile'), d => d.copiedBytes),
});

/** QEMU's answer, what it is about, and on the primary our statistics. */
const coloStatus = ofColo.answer('COLOStatus', {
  mode: ofColo.fact(mode, c => c.mode, 'mode'),
  'last-mode': ofColo.fact(mode, c => c['last-mode'], 'last mode'),
  reason: ofColo.fact(
    oneOf(coloExitReasons, '', { name: 'COLOExitReason' }),
    c => c.reason,
    'exit reason',
  ),
  error: ofColo.fact(
    optional(str('why COLO, or the way into it, ended the last time')),
    c => c.why,
    'error',
  ),
  'since-ms': ofColo.fact(
    optional(int('for how long it has been so')),
    c => rounded(c.sinceMs),
    ms => `since: ${ageText(ms)}`,
  ),
  'last-checkpoint-ms': ofColo.fact(
    optional(int('since the last checkpoint that the secondary holds whole')),
    c => rounded(c.lastCheckpointMs),
    ms => `last checkpoint: ${(ms / 1000).toFixed(1)} s ago`,
  ),
  disks: ofColo.fact(
    optional(list(disk.type)),
    c => c.inStep?.map(disk.from),
    disks => disks.map(disk.show).join('\n'),
  ),
  statistics: ofColo.fact(
    optional(statistics.type),
    c => c.statistics && statistics.from(c.statistics),
    statistics.show,
  ),
});

export const coloCommands = [
  command({
    name: 'query-colo-status',
    hmpName: 'info colo',
    since: '0.1',
    summary: 'show COLO mode, exit reason and checkpoint statistics',
    returns: coloStatus.type,
    run: ({ colo }) => coloStatus.from(colo.info()),
    show: coloStatus.show,
    table: status => pairs(coloStatus.show(status)),
  }),
  command({
    name: 'x-colo-lost-heartbeat',
    since: '0.1',
    summary: 'tell COLO that the heartbeat of the peer is lost: this side goes on alone',
    notes: [
      'Give it to the side that shall live, and only when the other one is surely dead: two ' +
        'live sides spoil both disks.',
    ],
    run: ({ colo }) => (colo.waitsForWord ? colo.runByOrder() : colo.lostHeartbeat()),
  }),
  command({
    name: 'x-colo-switchover',
    since: '0.1',
    summary:
      'swap the roles: the secondary is given the guest, which stands still for a checkpoint',
    notes: [
      'Of a primary whose secondary is in step. Returns when the secondary has the guest; this ' +
        'side never runs it again, and is to be started anew as the secondary. A guest that is ' +
        'stopped, or is meanwhile, arrives stopped: `cont` is for the other side then. A reset, ' +
        'a shutdown or a press of the power button that comes in between ends the swap.',
    ],
    run: ({ colo, machine }) => {
      const { runState } = machine;
      if (colo.mode === 'primary' && !['running', 'colo', 'paused'].includes(runState))
        throw new VmError(`the guest is '${runState}', and would run on the other side`);
      return colo.pair.switchOver();
    },
  }),
  command({
    name: 'x-colo-leave',
    since: '0.1',
    summary: 'leave the pair, of a secondary: the primary goes on alone, without a stop',
    notes: ['Returns when the primary goes on alone, and its arbiter knows. `quit` is next.'],
    run: ({ colo }) => colo.pair.leavePair(),
  }),
];
