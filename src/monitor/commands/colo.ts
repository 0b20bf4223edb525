/** COLO: how it is, and what to do when the peer is lost. */
import { coloExitReasons, coloModes } from '../../qapi/types.js';
import { age } from '../health.js';
import { pairs } from '../hmp/table.js';
import { command, part } from '../schema.js';
import { int, num, oneOf, optional, str, struct, type TypeOf } from '../../words/types.js';

const mode = oneOf(coloModes, '', { name: 'COLOMode' });
const statistics = struct('COLOStatistics', {
  checkpoints: int(),
  pauseMs: struct('COLOPause', { p50: num(), p99: num() }),
  pagesPerCheckpoint: num(),
  bytesPerCheckpoint: num(),
});
/** QEMU's answer, what it is about, and on the primary our statistics. */
const coloStatus = struct('COLOStatus', {
  mode,
  'last-mode': mode,
  reason: oneOf(coloExitReasons, '', { name: 'COLOExitReason' }),
  error: optional(str('why COLO, or the way into it, ended the last time')),
  'since-ms': optional(int('for how long it has been so')),
  'last-checkpoint-ms': optional(int('since the last checkpoint that the secondary holds whole')),
  statistics: optional(statistics),
});
type ColoStatus = TypeOf<typeof coloStatus>;

export const coloCommands = [
  command({
    name: 'query-colo-status',
    hmpName: 'info colo',
    since: '0.1',
    feature: 'colo',
    summary: 'show COLO mode, exit reason and checkpoint statistics',
    returns: coloStatus,
    run: vm => ({ ...part(vm, 'colo').status(), statistics: part(vm, 'colo').statistics() }),
    show: showColo,
    table: status => pairs(showColo(status)),
  }),
  command({
    name: 'x-colo-lost-heartbeat',
    since: '0.1',
    feature: 'colo',
    summary: 'tell COLO that the heartbeat of the peer is lost: this side goes on alone',
    notes: [
      'Give it to the side that shall live, and only when the other one is surely dead: two ' +
        'live sides spoil both disks.',
    ],
    run: vm => part(vm, 'colo').lostHeartbeat(),
  }),
];

const seconds = (ms: number) => (ms / 1000).toFixed(1);

function showColo(status: ColoStatus): string {
  const lines = [
    `mode: ${status.mode}`,
    `last mode: ${status['last-mode']}`,
    `exit reason: ${status.reason}`,
  ];
  const { error, 'since-ms': sinceMs, 'last-checkpoint-ms': checkpointMs } = status;
  if (error !== undefined) lines.push(`error: ${error}`);
  if (sinceMs !== undefined) lines.push(`since: ${age(sinceMs)}`);
  if (checkpointMs !== undefined) lines.push(`last checkpoint: ${seconds(checkpointMs)} s ago`);
  const counted = status.statistics;
  if (counted) {
    lines.push(`checkpoints: ${counted.checkpoints}`);
    lines.push(
      `pause: p50 ${counted.pauseMs.p50.toFixed(1)} ms, p99 ${counted.pauseMs.p99.toFixed(1)} ms`,
    );
    lines.push(
      `per checkpoint: ${Math.round(counted.pagesPerCheckpoint)} pages, ` +
        `${Math.round(counted.bytesPerCheckpoint)} bytes`,
    );
  }
  return lines.join('\n');
}
