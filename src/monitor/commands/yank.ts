/**
 * yank: connections that wait for a dead peer are ended, also while everything else waits for them.
 */
import { command } from '../schema.js';
import { yank, yankInstances } from '../../vm/yank.js';
import { list, str, union } from '../../words/types.js';

const instance = union('YankInstance', {
  'block-node': { 'node-name': str() },
  chardev: { id: str() },
  migration: {},
});

export const yankCommands = [
  command({
    name: 'yank',
    since: '0.1',
    monitors: 'qmp',
    oob: true,
    summary: 'end connections now, as if the peer had closed them',
    notes: ['Also out of band: enable `oob` in qmp_capabilities, then exec-oob.'],
    examples: ['{"instances":[{"type":"migration"}]}'],
    args: { instances: list(instance, 'which, as query-yank names them') },
    run: (vm, { instances }) => yank(vm, instances),
  }),
  command({
    name: 'query-yank',
    since: '0.1',
    monitors: 'qmp',
    oob: true,
    summary: 'connections that yank can end',
    returns: list(instance),
    run: vm => yankInstances(vm),
  }),
];
