/** `colo list`: the VMs of this user on this host. */
import { BaseCommand } from './base.js';
import { age, columns, survey, type VmLine } from './survey.js';

export class List extends BaseCommand {
  static override readonly summary = 'list the VMs that run on this host';
  static override readonly description = 'VMs that were started with -name by this user. On a pipe: tabs between the columns (name, role, state, protected, peer, age), no head.';
  static override readonly examples = ['<%= config.bin %> list', '<%= config.bin %> list --json'];
  static override readonly enableJsonFlag = true;

  async run(): Promise<VmLine[]> {
    await this.parse(List);
    const lines = await survey();
    if (this.jsonEnabled()) return lines;
    const rows = lines.map(line => [line.name, line.role, line.state, line.protected ? 'yes' : 'no', line.peer ?? '-', age(line.ageMs)]);
    if (lines.length > 0) process.stdout.write(columns(['NAME', 'ROLE', 'STATE', 'PROTECTED', 'PEER', 'AGE'], rows, process.stdout.isTTY));
    else this.note('no VM with a -name runs here');
    return lines;
  }
}
