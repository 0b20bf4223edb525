/** `colo primary` and `colo secondary`: QEMU's command line. Its options are in help.ts. */
import { BaseCommand } from './base.js';
import { type GivenOption, HelpAsked, optionValue } from './options/argv.js';
import type { Launch, Role } from './options/spec.js';
import { logInto, startDaemon, staysInForeground } from './vm/process.js';

export abstract class VmCommand extends BaseCommand {
  static override readonly strict = false;
  protected abstract readonly role: Role;

  async run(): Promise<void> {
    // Ours, not oclif's: it warns developers who forget to parse.
    this.parsed = true;
    const config = optionValue(this.argv, 'config');
    const pairing = config === undefined ? undefined : (await import('./pair/pairing.js')).pairingFrom(config, this.role);
    const launch = await this.launch(pairing?.options);
    if (!launch) return;
    if (!staysInForeground(launch.process)) {
      process.exitCode = await startDaemon();
      return process.exit();
    }
    const { logfile } = launch.process;
    const log = logfile === undefined ? undefined : logInto(logfile);
    const note = (line: string) => (log ? log.write(line) : this.note(line));
    const { runVm } = await import('./vm/run.js');
    const [major, minor, micro] = this.config.version.split(/[.-]/).map(Number);
    const code = await runVm(launch, { version: { major, minor, micro, package: 'colo' }, note: line => note(`colo ${this.role}: ${line}`), reopenLog: log?.reopen, pairing });
    process.stdout.write('', () => process.exit(code));
  }

  /** undefined: help was asked for, and given. */
  private async launch(base?: readonly GivenOption[]): Promise<Launch | undefined> {
    // Here, not above: what a machine is made of takes longer to load than most commands take to run.
    const [{ parseLaunch }, { checkUsage }] = await Promise.all([import('./options/spec.js'), import('./options/check.js')]);
    try {
      const launch = parseLaunch(this.role, this.argv, base);
      checkUsage(launch.spec);
      return launch;
    } catch (error) {
      if (!(error instanceof HelpAsked)) throw error;
      this.log(error.message);
      return undefined;
    }
  }
}
