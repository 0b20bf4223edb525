/** A process whose standard input is the monitor of a machine that does nothing: `system_powerdown` makes an event a moment later. */
import { createChardev } from '../../src/chardev/create.js';
import type { CharWorld } from '../../src/chardev/contract.js';
import { processStdio } from '../../src/commands/terminal.js';
import { processTypist } from '../../src/commands/typist.js';
import { registryFor } from '../../src/monitor/commands/all.js';
import { HmpMonitor } from '../../src/monitor/hmp/monitor.js';
import { fakeControl } from './fake-control.js';

const vm = fakeControl();
Object.assign(vm, {
  powerdown: () => void setTimeout(() => vm.events.emit('COLO_EXIT', { mode: 'primary', reason: 'error' }), 150),
  quit: () => setTimeout(() => process.exit(7), 20),
});
const world = { stdio: processStdio() } as unknown as CharWorld;
const chr = await createChardev('m0', { kind: 'stdio', input: 'keys' }, world);
new HmpMonitor(vm, registryFor(vm), chr, { wallMs: () => 0, log: line => process.stderr.write(`${line}\n`), typist: processTypist() });
setInterval(() => undefined, 1000);
