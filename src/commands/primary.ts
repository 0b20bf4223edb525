import type { Role } from './options/spec.js';
import { VmCommand } from './vm-command.js';

export class Primary extends VmCommand {
  static override readonly summary =
    'run a virtual machine; with a secondary it survives the loss of this host';
  static readonly usage = 'primary -kernel PATH [OPTION]...';
  static override readonly description =
    'Runs in the foreground until the guest powers off, `quit`, or a signal (a second one ' +
    'ends it at once). Nothing is protected before `migrate` with x-colo on. With -S it ' +
    'starts without -kernel too: an empty machine, to try the monitor on.';
  static override readonly examples = [
    '<%= config.bin %> primary -S -monitor stdio',
    '<%= config.bin %> primary -m 512 -kernel vmlinuz -initrd initrd.img -append ' +
      'console=ttyS0 -serial stdio',
    '<%= config.bin %> primary -m 512 -kernel vmlinuz -drive ' +
      'if=virtio,id=colo-disk0,driver=quorum,read-pattern=fifo,vote-threshold=1,' +
      'children.0.file.filename=disk.img,children.0.driver=raw -netdev tap,id=hn0 -device ' +
      'virtio-net-pci,netdev=hn0 -qmp unix:/run/primary.qmp,server=on,wait=off',
    '<%= config.bin %> primary -m 512 -kernel vmlinuz -blockdev ' +
      'driver=qcow2,node-name=disk0,file.driver=file,file.filename=disk.qcow2 -device ' +
      'virtio-blk-pci,drive=disk0,werror=enospc',
  ];
  protected readonly role: Role = 'primary';
}
