/** What the guest sees: network, devices, PCI, registers. */
import { VmError } from '../../base/errors.js';
import { hmpCommand, part } from '../schema.js';
import { int, optional } from '../types.js';
import type { PciInfo } from '../vm.js';

export const inspectCommands = [
  hmpCommand({
    name: 'network',
    info: true,
    since: '0.1',
    feature: 'network',
    summary: 'show the network state',
    run: vm => part(vm, 'network').info().join('\n'),
  }),
  hmpCommand({
    name: 'qtree',
    info: true,
    since: '0.1',
    feature: 'inspect',
    summary: 'show device tree',
    run: vm =>
      part(vm, 'inspect')
        .devices()
        .map(d => [`dev: ${d.model}, id "${d.id}", at ${d.where}`, ...d.properties.map(([name, value]) => `  ${name} = ${value}`)].join('\n'))
        .join('\n'),
  }),
  hmpCommand({
    name: 'pci',
    info: true,
    since: '0.1',
    feature: 'inspect',
    summary: 'show PCI info',
    run: vm => part(vm, 'inspect').pci().map(showPci).join('\n'),
  }),
  hmpCommand({
    name: 'registers',
    info: true,
    since: '0.1',
    feature: 'inspect',
    summary: 'show the cpu registers',
    notes: ['Only while the VM is stopped.'],
    examples: ['info registers 0'],
    args: { cpu: optional(int('number of the vCPU; default 0', { min: 0 })) },
    run: async (vm, { cpu = 0 }) => {
      const inspect = part(vm, 'inspect');
      if (cpu >= inspect.cpuCount) throw new VmError(`There is no CPU #${cpu}; this machine has ${inspect.cpuCount}`);
      return inspect.registers(cpu);
    },
  }),
];

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');

function showPci(p: PciInfo): string {
  const lines = [`  Bus ${String(p.bus).padStart(2)}, device ${String(p.slot).padStart(3)}, function ${p.function}:`, `    ${p.description}: PCI device ${hex(p.vendor, 4)}:${hex(p.device, 4)}`];
  if (p.irqPin > 0) lines.push(`      IRQ ${p.irq}, pin ${'?ABCD'[p.irqPin] ?? '?'}`);
  for (const bar of p.bars) {
    const where = bar.address === undefined ? 'not mapped' : `at 0x${hex(bar.address, bar.type === 'io' ? 4 : 8)}`;
    lines.push(`      BAR${bar.index}: ${bar.type === 'io' ? 'I/O' : '32 bit memory'} ${where}, ${bar.size} bytes`);
  }
  return [...lines, `      id "${p.id}"`].join('\n');
}
