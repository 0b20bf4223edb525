/**
 * A process whose terminal is the monitor of a machine that does nothing: `system_powerdown` makes
 * an event a moment later, `system_reset` a line of the log; `set_link` loses the peer. With `mux`
 * beside a guest's console: a guest that echoes, shows breaks, and prints a line when it is reset.
 */
import { createChardev } from '../../src/chardev/create.js';
import type { CharBackend, CharPorts } from '../../src/chardev/contract.js';
import { MuxChar } from '../../src/chardev/mux.js';
import { note } from '../../src/commands/output.js';
import { processStdio } from '../../src/commands/terminal.js';
import { processTypist } from '../../src/commands/typist.js';
import { NodeClock } from '../../src/host/node/clock.js';
import { monitorRegistry } from '../../src/monitor/commands/all.js';
import { HmpMonitor } from '../../src/monitor/hmp/monitor.js';
import { rememberingVm } from './remembering-vm.js';

const vm = rememberingVm();
const guest = (chr: CharBackend) => {
  chr.onData(bytes =>
    chr.write(Buffer.from(`<${JSON.stringify(Buffer.from(bytes).toString())}>\r\n`)),
  );
  chr.onBreak?.(() => chr.write(Buffer.from('SysRq\r\n')));
  chr.write(Buffer.from('guest up\r\nlogin: '));
  Object.assign(vm.machine, {
    reset: () => void setTimeout(() => chr.write(Buffer.from('rebooted\r\nlogin: ')), 100),
  });
};
Object.assign(vm.machine, {
  powerdown: () =>
    void setTimeout(
      () => vm.machine.events.emit('JOB_STATUS_CHANGE', { id: 'copy', status: 'ready' }),
      150,
    ),
  reset: () => void setTimeout(() => note('colo primary: a line\nof the log'), 150),
});
Object.assign(vm, { quit: () => setTimeout(() => process.exit(7), 20) });
// As a pair whose peer is lost, between checkpoints that nobody wants to read of.
Object.assign(vm.network, {
  setLink: () => {
    vm.machine.events.emit('STOP', { checkpoint: true });
    vm.machine.events.emit('RESUME', { checkpoint: true });
    Object.assign(vm.now.colo, {
      pair: 'lost',
      why: 'no sign of life from the peer for 5000 ms',
      sinceMs: 3,
    });
    vm.machine.events.emit('COLO_EXIT', { mode: 'primary', reason: 'error' });
  },
});
const world = { stdio: processStdio(), clock: new NodeClock() } as unknown as CharPorts;
const stdio = { kind: 'stdio', input: 'keys' } as const;
const chr = await createChardev(
  'm0',
  process.argv.includes('mux') ? { kind: 'mux', base: stdio } : stdio,
  world,
);
const serial = chr instanceof MuxChar ? chr.front('console') : undefined;
const front = chr instanceof MuxChar ? chr.front('monitor') : chr;
new HmpMonitor(vm, monitorRegistry, front, {
  wallMs: () => 0,
  log: line => process.stderr.write(`${line}\n`),
  typist: processTypist(),
});
if (chr instanceof MuxChar) {
  chr.onCommand(command => (command === 'quit' ? vm.quit() : chr.say('saved\n')));
}
if (serial) guest(serial);
setInterval(() => undefined, 1000);
