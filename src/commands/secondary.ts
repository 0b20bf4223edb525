import type { Role } from './options/spec.js';
import { VmCommand } from './vm-command.js';

export class Secondary extends VmCommand {
  static override readonly summary = 'wait for a primary, follow it, and go on when it is lost';
  static readonly usage = 'secondary -incoming URI [OPTION]...';
  static override readonly description =
    'Give it the same -m, -drive ids, -netdev ids and -device as the primary. When the ' +
    'primary is ' +
    'lost: colo failover NAME, or x_colo_lost_heartbeat in its monitor.';
  static override readonly examples = [
    '<%= config.bin %> secondary -m 512 -incoming tcp:0:8888 -drive ' +
      'if=none,id=colo-disk0,file.filename=disk.img,driver=raw -drive ' +
      'if=virtio,driver=replication,mode=secondary,file=colo-disk0 -qmp ' +
      'unix:/run/secondary.qmp,server=on,wait=off',
  ];
  protected readonly role: Role = 'secondary';
}
