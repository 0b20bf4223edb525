/** The options of `colo primary` and `colo secondary`: QEMU's names and syntax. */
import type { OptionDeclaration } from './argv.js';
import { nothingTable } from './nothing.js';

export const optionTable = [
  {
    name: 'config',
    value: 'FILE',
    summary:
      'a pair definition, colo-pair(5), as `colo init` writes it; other options add to it or ' +
      'replace what it says',
  },
  {
    name: 'sync-from',
    value: 'primary|secondary',
    summary:
      'of a primary, for this once: whose disks are kept where those of the two sides differ ' +
      'and no record says which are newer; the others are overwritten',
  },
  {
    name: 'name',
    value: 'NAME',
    summary:
      'name of the VM, and its address on this host: colo monitor NAME; one live VM of a name ' +
      'per user',
  },
  { name: 'uuid', value: 'UUID', summary: 'UUID of the VM; default: all zero' },
  { name: 'm', value: 'SIZE', summary: 'RAM: 512, 2048M, 2G (MiB without a suffix; default 128)' },
  {
    name: 'smp',
    value: '[cpus=]N[,sockets=S,cores=C,threads=T]',
    summary: 'vCPUs: 1; on KVM up to 8',
  },
  {
    name: 'cpu',
    value: 'MODEL[,+FLAG][,-FLAG]',
    summary:
      'soft-v1 (default), soft-v2, qemu64, host, max; flags by the names of QEMU; the same on ' +
      'both sides of a pair; -cpu help lists both',
  },
  {
    name: 'accel',
    value: 'auto|soft|kvm',
    summary: 'what runs the guest; auto (default) takes KVM where it really runs code; -accel help',
  },
  { name: 'enable-kvm', summary: 'same as -accel kvm' },
  { name: 'kernel', value: 'PATH', summary: 'Linux kernel to boot: bzImage or ELF vmlinux' },
  { name: 'initrd', value: 'PATH', summary: 'initial RAM disk' },
  { name: 'append', value: 'LINE', summary: 'kernel command line' },
  {
    name: 'blockdev',
    value: 'OPTS',
    repeatable: true,
    summary:
      'node of the block graph, for -device virtio-blk-pci,drive=NODE, a -drive or a later ' +
      '-blockdev: driver=DRIVER,node-name=NODE,...; or the JSON of blockdev-add',
  },
  {
    name: 'drive',
    value: 'OPTS',
    repeatable: true,
    summary: 'disk: if=virtio (default) or none,id=ID,driver=...,file.filename=PATH,...',
  },
  {
    name: 'netdev',
    value: 'OPTS',
    repeatable: true,
    summary:
      'host side of a network card: tap,id=ID[,ifname=NAME][,script=PATH][,downscript=PATH]; ' +
      'socket,id=ID,listen=HOST:PORT or connect=HOST:PORT; -netdev help',
  },
  {
    name: 'device',
    value: 'OPTS',
    repeatable: true,
    summary:
      'disk, network card or other device: NAME,PROPERTY=VALUE,..., or the same as JSON; ' +
      '-device help lists the names, -device NAME,help the properties',
  },
  {
    name: 'chardev',
    value: 'OPTS',
    repeatable: true,
    summary:
      'character device: socket|file|stdio|ringbuf|null,id=ID[,mux=on],...; mux=on: for ' +
      'several users, Ctrl-A c between them; -chardev help, -chardev KIND,help',
  },
  {
    name: 'object',
    value: 'OPTS',
    repeatable: true,
    summary:
      'packet filter or other object: TYPE,id=ID,PROPERTY=VALUE,...; -object help lists the ' +
      'types, -object TYPE,help the properties',
  },
  {
    name: 'serial',
    value: 'DEV',
    repeatable: true,
    summary:
      'COM1, COM2 ...: stdio, file:PATH, unix:PATH,server=on,wait=off, chardev:ID, null, ' +
      'none; mon:stdio with a monitor beside it (Ctrl-A c)',
  },
  {
    name: 'qmp',
    value: 'DEV',
    repeatable: true,
    summary:
      'QMP monitor on stdio, unix:PATH,server=on,wait=off or tcp:HOST:PORT,server=on,wait=off',
  },
  {
    name: 'monitor',
    value: 'DEV',
    repeatable: true,
    summary: 'human monitor on the same; on stdio of a terminal with line editing',
  },
  {
    name: 'nographic',
    summary:
      'serial port and human monitor on the terminal (-serial mon:stdio), unless they are ' +
      'elsewhere; Ctrl-A c switches, Ctrl-A h helps',
  },
  {
    name: 'mon',
    value: 'OPTS',
    repeatable: true,
    summary: 'monitor on a -chardev: chardev=ID[,mode=readline|control]',
  },
  {
    name: 'incoming',
    value: 'URI',
    summary:
      'wait on tcp:HOST:PORT (HOST 0: any address) or unix:PATH: a secondary for its primary, ' +
      'a primary for a guest that migrates; load a saved guest: file:PATH[,offset=N], ' +
      'exec:COMMAND; defer: wait for migrate_incoming',
  },
  {
    name: 'S',
    summary:
      'do not start the guest: wait for `cont`. Without -kernel: an empty machine, to try the ' +
      'monitor on',
  },
  { name: 'no-reboot', summary: 'a reset by the guest ends the VM' },
  { name: 'no-shutdown', summary: 'a power-off by the guest leaves the VM there, stopped' },
  {
    name: 'snapshot',
    summary:
      'no write reaches an image: they are kept in memory, at most 1 GiB a disk, and ' +
      'forgotten at the end',
  },
  {
    name: 'global',
    value: 'DRIVER.PROP=VALUE',
    repeatable: true,
    summary:
      'a property of every -device DRIVER that does not give it; or migration.NAME=VALUE, a ' +
      'capability or parameter',
  },
  {
    name: 'machine',
    aliases: ['M'],
    value: 'TYPE',
    summary:
      'pc, or pc-i440fx-VERSION: taken for the one machine that there is; ' +
      '[,accel=auto|soft|kvm]; what it has not may be off (usb=off); -machine help',
  },
  {
    name: 'boot',
    value: 'c',
    summary: 'only c is taken, with menu=off and strict: what boots is the kernel of -kernel',
  },
  { name: 'display', value: 'none', summary: 'colo has no display: only `none` is taken' },
  { name: 'nodefaults', summary: 'taken as it is: colo adds no default devices' },
  {
    name: 'daemonize',
    summary: 'go into the background when the VM is there; the exit code tells whether it is',
  },
  { name: 'pidfile', value: 'PATH', summary: 'file for the process id, while the VM is there' },
  {
    name: 'msg',
    value: 'timestamp=on',
    summary: 'timestamp=on: the time of day before each line for people and each trace event',
  },
  {
    name: 'D',
    value: 'PATH',
    summary: 'append log lines and trace events to a file instead of standard error',
  },
  {
    name: 'trace',
    value: '[enable=]PATTERN',
    repeatable: true,
    summary:
      'print trace events that match, where the log goes; events=FILE: patterns from a file, ' +
      'one a line',
  },
  ...nothingTable,
] as const satisfies readonly OptionDeclaration[];

export type OptionName = (typeof optionTable)[number]['name'];

/** QEMU's options that people will try, with what to do instead. */
export const refusedOptions: Readonly<Record<string, string>> = {
  spice: 'colo has no display. Leave it out.',
  hda: 'Use -drive if=virtio.',
  cdrom: 'There is no CD drive. Use -drive if=virtio.',
  bios: 'There is no firmware: boots -kernel.',
  usb: 'There is no USB. Leave it out.',
  loadvm: 'colo has no snapshots.',
  readconfig: 'Use --config FILE with a pair definition: colo init writes one.',
  writeconfig: 'colo init writes a pair definition for --config.',
  runas: 'Start colo as the user that it shall be.',
  chroot: 'Use a service manager for this, or bwrap.',
  gdb: 'colo has no gdb stub; the monitor shows registers and memory of a stopped VM.',
  s: 'colo has no gdb stub; the monitor shows registers and memory of a stopped VM.',
  fda: 'There is no floppy drive. Use -drive if=virtio.',
  usbdevice: 'There is no USB. Leave it out.',
  soundhw: 'There is no sound. Leave it out.',
  smbios: 'There is no SMBIOS. Leave it out.',
  k: 'colo has no display and no keyboard. Leave it out.',
  'full-screen': 'colo has no display. Leave it out.',
  'no-acpi': 'The machine has ACPI; a guest leaves it alone with acpi=off in -append.',
  'mem-path': 'Guest memory is memfd. Leave it out.',
  'mem-prealloc': 'Guest memory comes as it is touched. Leave it out.',
  numa: 'There is one NUMA node. Leave it out.',
  watchdog: 'There is no watchdog. Leave it out.',
  virtfs: 'There is no shared folder. Use -drive or the network.',
  fsdev: 'There is no shared folder. Use -drive or the network.',
  fw_cfg: 'There is no firmware configuration device. Use -append or -initrd.',
  icount: 'Guest time follows real time. Leave it out.',
};
