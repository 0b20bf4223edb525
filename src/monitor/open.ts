/** The monitors of a VM: those of its spec, each on its character device. */
import { monitorRegistry } from './commands/all.js';
import { HmpMonitor, type Typist } from './hmp/monitor.js';
import { HmpShell } from './hmp/shell.js';
import { QmpServer } from './qmp/server.js';
import type { Vm } from '../vm/vm.js';

/** They end with the VM. */
export function openMonitors(vm: Vm, typist?: Typist): void {
  const registry = monitorRegistry;
  const ports = {
    wallMs: () => vm.host.clock.wallMs(),
    log: (line: string) => vm.host.note(line),
    typist,
  };
  // The keys of a terminal that several share.
  vm.chardevs.onMuxCommand((command, mux) =>
    command === 'quit'
      ? vm.quit()
      : void new HmpShell(registry, vm, false).run('commit all').then(text => mux.say(text)),
  );
  for (const { mode, chardev } of vm.spec.monitors) {
    const user = `the ${mode.toUpperCase()} monitor`;
    const chr = vm.chardevs.claim(chardev, user, 'monitor').value;
    vm.endsLast(
      mode === 'qmp'
        ? new QmpServer(vm, registry, chr, ports)
        : new HmpMonitor(vm, registry, chr, ports),
    );
  }
}
