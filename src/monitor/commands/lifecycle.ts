/** Stop, go on, reset, power off, end. */
import { command } from '../schema.js';

export const lifecycleCommands = [
  command({
    name: 'stop',
    since: '0.1',
    aliases: ['s'],
    summary: 'stop emulation',
    run: ({ machine }) => machine.stop(),
  }),
  command({
    name: 'cont',
    since: '0.1',
    aliases: ['c'],
    summary: 'resume emulation',
    run: ({ machine }) => machine.cont(),
  }),
  command({
    name: 'quit',
    since: '0.1',
    aliases: ['q'],
    summary: 'end the VM and this process',
    notes: ['Disks are flushed; the guest is not asked. See system_powerdown.'],
    run: vm => vm.quit(),
  }),
  command({
    name: 'system_reset',
    since: '0.1',
    summary: 'reset the system',
    run: ({ machine }) => machine.reset(),
  }),
  command({
    name: 'system_powerdown',
    since: '0.1',
    summary: 'send system power down event',
    run: ({ machine }) => machine.powerdown(),
  }),
];
