/** `colo primary` and `colo secondary`: QEMU's command line. Its options are in help.ts. */
import { type GivenOption, HelpAsked, UsageError } from './options/argv.js';
import type { Launch, Role } from './options/spec.js';
import { noteUnlessPrompt, watchOutput } from './output.js';
import type { Pairing } from './pair/pairing.js';
import { Tool } from './tool.js';
import { version } from './version.js';
import { channelHint } from './vm/channels.js';
import { LogSink, startDaemon, staysInForeground } from './vm/process.js';

export abstract class VmCommand extends Tool {
  static readonly strict = false;
  static override readonly args = {};
  static override readonly flags = {};
  protected abstract readonly role: Role;

  async run(): Promise<void> {
    const pairing = await this.pairing();
    const launch = await this.launch(pairing?.options);
    if (!launch) return;
    if (!staysInForeground(launch.process)) {
      process.exitCode = await startDaemon();
      return process.exit();
    }
    const { logfile, timestamps } = launch.process;
    const log = new LogSink(line => this.note(line), timestamps);
    if (logfile !== undefined) log.open(logfile, '-D');
    const hint = process.stderr.isTTY ? channelHint(launch.spec, launch.name) : undefined;
    if (hint !== undefined) this.note(`colo ${this.role}: ${hint}`);
    const { runVm } = await import('./vm/run.js');
    const [major, minor, micro] = version().split(/[.-]/).map(Number);
    const code = await runVm(launch, {
      version: { major, minor, micro, package: 'colo' },
      note: line => log.write(`colo ${this.role}: ${line}`),
      tell: line => log.write(`colo ${this.role}: ${line}`, noteUnlessPrompt),
      reopenLog: logfile === undefined ? undefined : () => log.reopen(),
      logInto: path => log.open(path, 'logfile'),
      pairing,
    });
    process.stdout.write('', () => process.exit(code));
  }

  /** A lost reader is no reason to stop a VM. */
  protected override async init(): Promise<void> {
    watchOutput(() => undefined);
  }

  private async pairing(): Promise<Pairing | undefined> {
    const { givenOptions } = await import('./options/spec.js');
    const given = givenOptions(this.argv);
    const find = (name: string) => given.find(option => option.name === name);
    const [config, side, rejoin] = [find('config'), find('side'), find('rejoin')];
    const insecure = find('insecure');
    const about = side ?? rejoin ?? insecure;
    if (!config) {
      if (!about) return undefined;
      throw new UsageError(`${about.spelled}: this is about a pair definition: give --config too`);
    }
    const { pairingFrom } = await import('./pair/pairing.js');
    return pairingFrom(config.value, this.role, {
      side: side?.value,
      rejoin: rejoin !== undefined,
      insecure: insecure !== undefined,
    });
  }

  /** --explain: nothing runs. */
  private async explained(base?: readonly GivenOption[]): Promise<boolean> {
    const { givenOptions } = await import('./options/spec.js');
    const names = givenOptions(this.argv).map(({ name }) => name);
    if (!names.includes('explain')) return false;
    const { explain, explanationText } = await import('./options/explain.js');
    const all = explain(this.role, this.argv, base);
    const text = names.includes('json') ? JSON.stringify(all, undefined, 2) : explanationText(all);
    process.stdout.write(`${text}\n`);
    if (all.options.some(({ verdict }) => verdict === 'refused') || !all.line) process.exitCode = 2;
    return true;
  }

  /** undefined: help or an explanation was asked for, and given. */
  private async launch(base?: readonly GivenOption[]): Promise<Launch | undefined> {
    // Here, not above: what a machine is made of takes longer to load than most commands take to
    // run.
    const { parseLaunch } = await import('./options/spec.js');
    const { reachableWarnings } = await import('./options/reachable.js');
    try {
      if (await this.explained(base)) return undefined;
      const launch = parseLaunch(this.role, this.argv, base);
      for (const line of reachableWarnings(launch)) this.note(`colo ${this.role}: ${line}`);
      return launch;
    } catch (error) {
      if (!(error instanceof HelpAsked)) throw error;
      process.stdout.write(`${error.message}\n`);
      return undefined;
    }
  }
}
