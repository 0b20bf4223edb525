/** `colo primary` and `colo secondary`: QEMU's command line. Its options are in help.ts. */
import { BaseCommand } from './base.js';
import { checkUsage } from './options/check.js';
import { HelpAsked } from './options/argv.js';
import type { Launch, Role } from './options/spec.js';
import { parseLaunch } from './options/spec.js';
import { logInto, startDaemon, staysInForeground } from './vm/process.js';

export abstract class VmCommand extends BaseCommand {
  static override readonly strict = false;
  protected abstract readonly role: Role;

  async run(): Promise<void> {
    // Ours, not oclif's: it warns developers who forget to parse.
    this.parsed = true;
    const launch = this.launch();
    if (!launch) return;
    checkUsage(launch.spec);
    if (!staysInForeground(launch.process)) {
      process.exitCode = await startDaemon();
      return process.exit();
    }
    const { logfile } = launch.process;
    const log = logfile === undefined ? (line: string) => this.note(line) : logInto(logfile);
    const { runVm } = await import('./vm/run.js');
    const [major, minor, micro] = this.config.version.split(/[.-]/).map(Number);
    const code = await runVm(launch, { major, minor, micro, package: 'colo' }, line => log(`colo ${this.role}: ${line}`));
    process.stdout.write('', () => process.exit(code));
  }

  /** undefined: help was asked for, and given. */
  private launch(): Launch | undefined {
    try {
      return parseLaunch(this.role, this.argv);
    } catch (error) {
      if (!(error instanceof HelpAsked)) throw error;
      this.log(error.message);
      return undefined;
    }
  }
}
