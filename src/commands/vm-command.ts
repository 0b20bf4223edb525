/** `colo primary` and `colo secondary`: QEMU's command line, help from the option table. */
import { BaseCommand } from './base.js';
import type { Role } from './options/spec.js';
import { parseLaunch } from './options/spec.js';
import { optionTable } from './options/table.js';

export abstract class VmCommand extends BaseCommand {
  static override readonly strict = false;
  protected abstract readonly role: Role;

  async run(): Promise<void> {
    const launch = parseLaunch(this.role, this.argv);
    const { runVm } = await import('./vm/run.js');
    const [major, minor, micro] = this.config.version.split(/[.-]/).map(Number);
    const code = await runVm(launch, { major, minor, micro, package: 'colo' }, line => this.note(`colo ${this.role}: ${line}`));
    process.stdout.write('', () => process.exit(code));
  }
}

/** OPTIONS for --help: oclif knows nothing of QEMU's syntax. */
export function optionHelp(): string {
  const heads = optionTable.map(o => `-${o.name}${'value' in o ? ` ${o.value}` : ''}`);
  const width = Math.min(28, Math.max(...heads.map(h => h.length)));
  const lines = optionTable.map((o, i) => `  ${heads[i].padEnd(width)}  ${o.summary}`);
  return ['Options, as in QEMU (one dash or two):', '', ...lines].join('\n');
}
