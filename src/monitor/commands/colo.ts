/** COLO: how it is, and what to do when the peer is lost. */
import { coloExitReasons, coloModes } from '../../qapi/types.js';
import { command, hmp, part } from '../schema.js';
import { oneOf, struct } from '../types.js';

const mode = oneOf(coloModes, '', { name: 'COLOMode' });
const coloStatus = struct('COLOStatus', { mode, 'last-mode': mode, reason: oneOf(coloExitReasons, '', { name: 'COLOExitReason' }) });

export const coloCommands = [
  command({
    name: 'query-colo-status',
    hmpName: 'info colo',
    since: '0.1',
    feature: 'colo',
    summary: 'show COLO mode, exit reason and checkpoint statistics',
    returns: coloStatus,
    run: vm => ({ ...part(vm, 'colo').status() }),
    hmp: hmp({}, vm => {
      const colo = part(vm, 'colo');
      return [...Object.entries(colo.status()), ...Object.entries(colo.stats())].map(([name, value]) => `${name}: ${value}`).join('\n');
    }),
  }),
  command({
    name: 'x-colo-lost-heartbeat',
    since: '0.1',
    feature: 'colo',
    summary: 'tell COLO that the heartbeat of the peer is lost: this side goes on alone',
    notes: ['Give it to the side that shall live, and only when the other one is surely dead: two live sides spoil both disks.'],
    run: vm => part(vm, 'colo').lostHeartbeat(),
  }),
];
