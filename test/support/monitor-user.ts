/** A user at the monitor of a VM of this process: commands are executed as a monitor does it. */
import { VmError } from '../../src/base/errors.js';
import { monitorRegistry } from '../../src/monitor/commands/all.js';
import { HmpShell } from '../../src/monitor/hmp/shell.js';
import type { Vm } from '../../src/vm/vm.js';

export class MonitorUser {
  private readonly shell: HmpShell;

  constructor(private readonly vm: Vm) {
    this.shell = new HmpShell(monitorRegistry, vm, false);
  }

  /** VmError: it is refused. */
  qmp(command: string, args: Record<string, unknown> = {}): Promise<unknown> {
    const context = {
      registry: monitorRegistry,
      hmp: (line: string) => this.shell.run(line),
      mayWait: false,
    };
    return monitorRegistry.qmp(command).runQmp(this.vm, args, context);
  }

  /** A line of HMP; VmError: it is refused. */
  async hmp(line: string): Promise<string> {
    const output = await this.shell.run(line);
    if (output.startsWith('Error: ')) throw new VmError(output.slice('Error: '.length).trimEnd());
    return output;
  }

  /** migrate-set-parameters. */
  set(parameters: Record<string, unknown>): Promise<unknown> {
    return this.qmp('migrate-set-parameters', parameters);
  }
}
