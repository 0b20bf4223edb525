/** The options of `colo primary` and `colo secondary`: QEMU's names and syntax. */
import type { OptionDeclaration } from './argv.js';

export const optionTable = [
  { name: 'name', value: 'NAME', summary: 'name of the VM, and its address on this host: colo monitor NAME; one live VM of a name per user' },
  { name: 'uuid', value: 'UUID', summary: 'UUID of the VM; default: all zero' },
  { name: 'm', value: 'SIZE', summary: 'RAM: 512, 2048M, 2G (MiB without a suffix; default 128)' },
  { name: 'smp', value: '[cpus=]N[,sockets=S,cores=C,threads=T]', summary: 'vCPUs: 1; on KVM up to 8' },
  { name: 'cpu', value: 'MODEL[,+FLAG][,-FLAG]', summary: 'soft-v1 (default), qemu64, host, max; flags by the names of QEMU; the same on both sides of a pair' },
  { name: 'accel', value: 'auto|soft|kvm', summary: 'what runs the guest; auto (default) takes KVM where it really runs code' },
  { name: 'enable-kvm', summary: 'same as -accel kvm' },
  { name: 'kernel', value: 'PATH', summary: 'Linux kernel to boot: bzImage or ELF vmlinux' },
  { name: 'initrd', value: 'PATH', summary: 'initial RAM disk' },
  { name: 'append', value: 'LINE', summary: 'kernel command line' },
  { name: 'drive', value: 'OPTS', repeatable: true, summary: 'disk: if=virtio (default) or none,id=ID,driver=...,file.filename=PATH,...' },
  { name: 'netdev', value: 'OPTS', repeatable: true, summary: 'host side of a network card: tap,id=ID[,ifname=NAME][,script=PATH][,downscript=PATH]' },
  { name: 'device', value: 'OPTS', repeatable: true, summary: 'virtio-net-pci,netdev=ID[,mac=MAC]; virtio-blk-pci,drive=ID; isa-debug-exit[,iobase=PORT]' },
  { name: 'chardev', value: 'OPTS', repeatable: true, summary: 'character device: socket|file|stdio|null,id=ID,...' },
  { name: 'object', value: 'OPTS', repeatable: true, summary: 'packet filter or other object: TYPE,id=ID,PROPERTY=VALUE,...; -object help lists the types, -object TYPE,help the properties' },
  { name: 'serial', value: 'DEV', repeatable: true, summary: 'COM1, COM2 ...: stdio, file:PATH, unix:PATH,server=on,wait=off, chardev:ID, null, none' },
  { name: 'qmp', value: 'DEV', repeatable: true, summary: 'QMP monitor on stdio, unix:PATH,server=on,wait=off or tcp:HOST:PORT,server=on,wait=off' },
  { name: 'monitor', value: 'DEV', repeatable: true, summary: 'human monitor on the same; on stdio of a terminal with line editing' },
  { name: 'incoming', value: 'URI', summary: 'wait for a primary on tcp:HOST:PORT (HOST 0: any address) or unix:PATH' },
  { name: 'S', summary: 'do not start the guest: wait for `cont`. Without -kernel: an empty machine, to try the monitor on' },
  { name: 'no-reboot', summary: 'a reset by the guest ends the VM' },
  { name: 'no-shutdown', summary: 'a power-off by the guest leaves the VM there, stopped' },
  { name: 'display', value: 'none', summary: 'colo has no display: only `none` is taken' },
  { name: 'nodefaults', summary: 'taken as it is: colo adds no default devices' },
  { name: 'daemonize', summary: 'go into the background when the VM is there; the exit code tells whether it is' },
  { name: 'pidfile', value: 'PATH', summary: 'file for the process id, while the VM is there' },
  { name: 'D', value: 'PATH', summary: 'append log lines and trace events to a file instead of standard error' },
  { name: 'trace', value: '[enable=]PATTERN', repeatable: true, summary: 'print trace events that match, where the log goes' },
] as const satisfies readonly OptionDeclaration[];

export type OptionName = (typeof optionTable)[number]['name'];

/** QEMU's options that people will try, with what to do instead. */
export const refusedOptions: Readonly<Record<string, string>> = {
  boot: 'colo boots the kernel of -kernel, not a disk. Leave -boot out.',
  machine: 'There is one machine type. Leave it out; the accelerator is -accel.',
  M: 'There is one machine type. Leave it out.',
  vnc: 'colo has no display. Use -serial and a kernel with console=ttyS0.',
  vga: 'colo has no display. Leave it out.',
  spice: 'colo has no display. Leave it out.',
  nographic: 'Say what you want instead: -serial stdio, or -monitor stdio.',
  mon: 'Use -qmp DEV or -monitor DEV; both take chardev:ID.',
  net: 'Use -netdev with -device virtio-net-pci.',
  nic: 'Use -netdev with -device virtio-net-pci.',
  hda: 'Use -drive if=virtio.',
  cdrom: 'There is no CD drive. Use -drive if=virtio.',
  blockdev: 'Use -drive with the same nested options.',
  bios: 'There is no firmware: boots -kernel.',
  usb: 'There is no USB. Leave it out.',
  global: 'Use the options of -device, or migrate_set_capability and migrate_set_parameter in the monitor.',
  snapshot: 'Make a qcow2 overlay with qemu-img, and use that.',
  loadvm: 'colo has no snapshots.',
  rtc: 'The clock is UTC.',
};
