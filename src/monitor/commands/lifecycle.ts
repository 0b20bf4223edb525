/** Stop, go on, reset, power off, end. */
import { command } from '../schema.js';

export const lifecycleCommands = [
  command({
    name: 'stop',
    since: '0.1',
    aliases: ['s'],
    summary: 'stop emulation',
    run: vm => vm.stop(),
  }),
  command({
    name: 'cont',
    since: '0.1',
    aliases: ['c'],
    summary: 'resume emulation',
    run: vm => vm.cont(),
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
    run: vm => vm.reset(),
  }),
  command({
    name: 'system_powerdown',
    since: '0.1',
    summary: 'send system power down event',
    run: vm => vm.powerdown(),
  }),
];
