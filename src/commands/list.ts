/** `colo list`: the VMs of this user on this host. */
import { styleText } from 'node:util';
import { wantsColour } from './output.js';
import { ageCell, columns, stateColour, stateWord, survey, type VmLine } from './survey.js';
import { Tool } from './tool.js';

export class List extends Tool {
  static override readonly summary = 'list the VMs that run on this host';
  static override readonly description =
    'VMs that were started with -name by this user. On a pipe: tabs between the columns ' +
    '(name, role, ' +
    'state, protected, peer, age), no head. The state is the run state; of a secondary ' +
    'standby (it ' +
    'follows its primary) or waiting (for one), lost where the pair waits for a decision, held ' +
    'where the guest may not run.';
  static override readonly examples = ['<%= config.bin %> list', '<%= config.bin %> list --json'];
  static override readonly enableJsonFlag = true;
  static override readonly args = {};
  static override readonly flags = {};

  async run(): Promise<VmLine[]> {
    await this.parse(List);
    const lines = await survey();
    if (this.jsonEnabled()) return lines;
    const rows = lines.map(line => {
      const { name, role, peer, ageMs } = line;
      return [
        name,
        role,
        stateWord(line),
        line.protected ? 'yes' : 'no',
        peer ?? '-',
        ageCell(ageMs),
      ];
    });
    const colour = wantsColour(process.stdout, process.env);
    const paint = (cell: string, row: number, column: number) =>
      colour && (column === 2 || column === 3) ? styleText(stateColour(lines[row]), cell) : cell;
    const head = ['NAME', 'ROLE', 'STATE', 'PROTECTED', 'PEER', 'AGE'];
    if (lines.length === 0) this.note('no VM with a -name runs here');
    else process.stdout.write(columns(head, rows, process.stdout.isTTY, paint));
    return lines;
  }
}
