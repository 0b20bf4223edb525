/** What the guest sees: network, devices, PCI, CPUs, registers, page tables. */
import { VmError } from '../../base/errors.js';
import { type MappedPage, PageFlag } from '../../accel/page-tables.js';
import { shortSize } from '../hmp/table.js';
import { command, hmpCommand } from '../schema.js';
import { flag, int, list, oneOf, optional, str, struct } from '../../words/types.js';
import { cpus, look, type StoppedGuest } from '../../vm/inspect.js';
import type { PciInfo, UsbInfo } from '../../machine/contract.js';
import type { FilterInfo, NetdevInfo } from '../../net/contract.js';
import type { Vm } from '../../vm/vm.js';

export const inspectCommands = [
  hmpCommand({
    name: 'network',
    info: true,
    since: '0.1',
    summary: 'show the network state',
    run: vm => netdevs(vm).flatMap(netdevLines).join('\n'),
    table: vm => ({
      head: ['NETDEV', 'TYPE', 'LINK', 'MORE'],
      rows: netdevs(vm).flatMap(netdevRows),
    }),
  }),
  hmpCommand({
    name: 'qtree',
    info: true,
    since: '0.1',
    summary: 'show device tree',
    run: vm =>
      vm.machine
        .deviceInfo()
        .map(d =>
          [
            `dev: ${d.model}, id "${d.id}", at ${d.where}`,
            ...d.properties.map(([name, value]) => `  ${name} = ${value}`),
          ].join('\n'),
        )
        .join('\n'),
  }),
  hmpCommand({
    name: 'pci',
    info: true,
    since: '0.1',
    summary: 'show PCI info',
    run: vm => vm.machine.pciInfo().map(showPci).join('\n'),
    table: vm => ({
      head: ['SLOT', 'ID', 'DEVICE', 'VENDOR:DEVICE', 'IRQ', 'BARS'],
      rows: vm.machine.pciInfo().map(pciRow),
    }),
  }),
  hmpCommand({
    name: 'usb',
    info: true,
    since: '0.1',
    summary: 'show guest USB devices',
    run: vm => vm.machine.usbInfo().map(showUsb).join('\n'),
  }),
  hmpCommand({
    name: 'registers',
    info: true,
    since: '0.1',
    summary: 'show the cpu registers (-a: show register info for all cpus)',
    examples: ['info registers 0', 'info registers -a'],
    args: {
      all: flag('a', 'of every vCPU'),
      cpu: optional(int('number of the vCPU; default 0', { min: 0 })),
    },
    run: async ({ machine }, { all, cpu = 0 }) => {
      const known = cpus(machine).map(({ index }) => index);
      if (!all && !known.includes(cpu))
        throw new VmError('CPU not available', {
          hint: `This machine has CPU ${known.join(', ')}.`,
        });
      return look(machine, guest =>
        (all ? known : [cpu]).map(index => `\nCPU#${index}\n${guest.registers(index)}`).join('\n'),
      );
    },
  }),
  command({
    name: 'query-cpus-fast',
    hmpName: 'info cpus',
    since: '0.1',
    summary: 'show infos for each CPU',
    returns: list(
      struct('CpuInfoFast', {
        'cpu-index': int(),
        'qom-path': str(),
        'thread-id': optional(int()),
        target: oneOf(['x86_64'], '', { name: 'SysEmuTarget' }),
      }),
    ),
    run: vm =>
      cpus(vm.machine).map(cpu => ({
        'cpu-index': cpu.index,
        'qom-path': `/machine/cpu[${cpu.index}]`,
        'thread-id': cpu.threadId,
        target: 'x86_64' as const,
      })),
    show: all =>
      all
        .map(
          cpu =>
            `${cpu['cpu-index'] === 0 ? '*' : ' '} CPU #${cpu['cpu-index']}: ` +
            `thread_id=${cpu['thread-id'] ?? 'none'}`,
        )
        .join('\n'),
  }),
  hmpCommand({
    name: 'mem',
    info: true,
    since: '0.1',
    summary: 'show the active virtual memory mappings',
    notes: ['From, to, size, and what user mode (u) may do: r, w.'],
    run: vm => look(vm.machine, guest => pageLines(guest, rangeLines)),
  }),
  hmpCommand({
    name: 'tlb',
    info: true,
    since: '0.1',
    summary: 'show virtual to physical memory mappings',
    notes: [
      'X no execution, G global, P large, D dirty, A accessed, C T cache bits, U user, W writable.',
    ],
    run: vm => look(vm.machine, guest => pageLines(guest, pages => pages.map(pageLine))),
  }),
];

/** One answer stays well below what a client's connection may queue. */
const MAX_PAGE_LINES = 8192;

function pageLines(guest: StoppedGuest, print: (pages: readonly MappedPage[]) => string[]): string {
  const mapped = guest.mappedPages();
  if (!mapped) return 'PG disabled';
  const lines = print(mapped.pages);
  const shown = lines.slice(0, MAX_PAGE_LINES);
  if (mapped.cut || lines.length > shown.length)
    shown.push(`(cut off after ${shown.length} lines)`);
  return shown.join('\n');
}

const hex64 = (value: bigint) => value.toString(16).padStart(16, '0');

/** Neighbours with the same rights are one range. */
function rangeLines(pages: readonly MappedPage[]): string[] {
  const lines: string[] = [];
  for (let i = 0; i < pages.length;) {
    const { gva, user, writable } = pages[i];
    let end = gva;
    for (
      ;
      i < pages.length &&
      pages[i].gva === end &&
      pages[i].user === user &&
      pages[i].writable === writable;
      i++
    )
      end = pages[i].gva + pages[i].size;
    const last = BigInt.asUintN(64, end);
    lines.push(
      `${hex64(gva)}-${hex64(last)} ${hex64(end - gva)} ` +
        `${user ? 'u' : '-'}r${writable ? 'w' : '-'}`,
    );
  }
  return lines;
}

const { NX, GLOBAL, LARGE, DIRTY, ACCESSED, PCD, PWT, USER, WRITE } = PageFlag;
const flagLetters = [
  [NX, 'X'],
  [GLOBAL, 'G'],
  [LARGE, 'P'],
  [DIRTY, 'D'],
  [ACCESSED, 'A'],
  [PCD, 'C'],
  [PWT, 'T'],
  [USER, 'U'],
  [WRITE, 'W'],
] as const;

function pageLine({ gva, gpa, entry }: MappedPage): string {
  return (
    `${hex64(gva)}: ${hex64(gpa)} ` +
    `${flagLetters.map(([bit, letter]) => (entry & bit ? letter : '-')).join('')}`
  );
}

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');

const netdevs = ({ network }: Vm) => network.netdevs.map(netdev => netdev.info());
type Property = readonly [string, string | number | boolean];
const words = (properties: readonly Property[]) =>
  properties.map(([name, value]) => `${name}=${value}`);
const macOf = ({ mac }: NetdevInfo): Property[] => (mac === undefined ? [] : [['mac', mac]]);
const filterWords = (f: FilterInfo): Property[] => [
  ['queue', f.direction],
  ['status', f.status],
  ...Object.entries(f.properties),
];

function netdevLines(netdev: NetdevInfo): string[] {
  const own = words([
    ['type', netdev.type],
    ...Object.entries(netdev.properties),
    ['link', netdev.link],
    ...macOf(netdev),
  ]);
  const filters = netdev.filters.map(
    f => `  - ${f.name}: ${words([['type', f.type], ...filterWords(f)]).join(',')}`,
  );
  return [`${netdev.id}: ${own.join(',')}`, ...filters];
}

/** And below a netdev its filters. */
function netdevRows(netdev: NetdevInfo): string[][] {
  const more = words([...Object.entries(netdev.properties), ...macOf(netdev)]);
  return [
    [netdev.id, netdev.type, netdev.link, more.join('\n')],
    ...netdev.filters.map(f => [`  ${f.name}`, f.type, '', words(filterWords(f)).join('\n')]),
  ];
}

function pciRow(p: PciInfo): string[] {
  const bars = p.bars.map(bar => {
    const io = bar.type === 'io';
    const at = bar.address === undefined ? 'not mapped' : `0x${hex(bar.address, io ? 4 : 8)}`;
    return `BAR${bar.index}: ${io ? 'I/O' : 'memory'} ${at}, ${shortSize(bar.size)}`;
  });
  return [
    `${p.bus}:${hex(p.slot, 2)}.${p.function}`,
    p.id,
    p.description,
    `${hex(p.vendor, 4)}:${hex(p.device, 4)}`,
    p.irqPin > 0 ? String(p.irq) : '-',
    bars.join('\n'),
  ];
}

const showUsb = ({ id, port, address, product }: UsbInfo) =>
  `  Device 0.${address}, Port ${port}, Speed 12 Mb/s, Product COLO ${product}, ID: ${id}`;

function showPci(p: PciInfo): string {
  const lines = [
    `  Bus ${String(p.bus).padStart(2)}, device ${String(p.slot).padStart(3)}, function ` +
      `${p.function}:`,
    `    ${p.description}: PCI device ${hex(p.vendor, 4)}:${hex(p.device, 4)}`,
  ];
  if (p.irqPin > 0) lines.push(`      IRQ ${p.irq}, pin ${'?ABCD'[p.irqPin] ?? '?'}`);
  for (const bar of p.bars) {
    const where =
      bar.address === undefined
        ? 'not mapped'
        : `at 0x${hex(bar.address, bar.type === 'io' ? 4 : 8)}`;
    lines.push(
      `      BAR${bar.index}: ${bar.type === 'io' ? 'I/O' : '32 bit memory'} ${where}, ` +
        `${bar.size} bytes`,
    );
  }
  return [...lines, `      id "${p.id}"`].join('\n');
}
