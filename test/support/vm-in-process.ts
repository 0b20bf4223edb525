/** A whole VM of this process from a command line, with its real monitor on a socket. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkUsage } from '../../src/commands/options/check.js';
import { parseLaunch, type Role } from '../../src/commands/options/spec.js';
import { PairTeller } from '../../src/commands/vm/pair-teller.js';
import { RunningVm } from '../../src/commands/vm/running-vm.js';
import { nodeHost } from '../../src/host/node/host.js';
import { QmpClient } from '../../src/monitor/qmp/client.js';
import { TraceSwitches } from '../../src/monitor/traces.js';
import type { VmControl } from '../../src/monitor/vm.js';
import { DiskGuest } from './disk-guest.js';

const stdio = {
  terminal: undefined,
  setMode: () => undefined,
  interrupt: () => undefined,
  write: () => true,
  onDrain: () => undefined,
  onData: () => undefined,
  onEnd: () => undefined,
  pause: () => undefined,
  resume: () => undefined,
};
const version = { major: 0, minor: 1, micro: 0, package: 'colo' };
const limitMs = 15_000;

export class VmInProcess {
  private readonly events: { event: string; data: unknown }[] = [];
  private disposed = false;

  private constructor(
    readonly vm: RunningVm,
    private readonly client: QmpClient,
    private readonly dir: string,
    /** What its terminal was told of the pair. */
    readonly told: readonly string[],
  ) {
    client.onEvent(({ event, data }) => void this.events.push({ event, data }));
  }

  static async start(role: Role, argv: readonly string[]): Promise<VmInProcess> {
    const dir = mkdtempSync(join(tmpdir(), 'colo-here-'));
    const path = join(dir, 'qmp');
    const { spec } = parseLaunch(role, [...argv, '-qmp', `unix:${path},server=on,wait=off`]);
    checkUsage(spec);
    const host = nodeHost();
    const told: string[] = [];
    const teller = new PairTeller('colo failover NAME', line => told.push(line));
    const pairChanged = (control: VmControl) => teller.changed(control);
    const vm = await RunningVm.build(spec, {
      pairChanged,
      host,
      stdio,
      step: () => undefined,
      version,
      traces: new TraceSwitches(() => undefined),
      note: () => undefined,
      logInto: () => undefined,
    });
    const client = await QmpClient.connect(host, { kind: 'unix', path }, limitMs);
    const here = new VmInProcess(vm, client, dir, told);
    await vm.start();
    return here;
  }

  /** Another connection to its monitor. */
  get monitor(): QmpClient {
    return this.client;
  }

  qmp(command: string, args?: Record<string, unknown>): Promise<unknown> {
    return this.client.execute(command, args, limitMs);
  }

  async hmp(line: string): Promise<string> {
    return String(await this.client.hmp(line, limitMs));
  }

  /** The oldest one of that name that nobody has asked for, or the next. */
  async event(name: string): Promise<unknown> {
    let at = -1;
    await this.until(name, () => (at = this.events.findIndex(({ event }) => event === name)) >= 0);
    return this.events.splice(at, 1)[0].data;
  }

  async until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
    const deadline = performance.now() + limitMs;
    while (!(await condition())) {
      if (performance.now() > deadline)
        throw new Error(`${what} did not come within ${limitMs / 1000} s`);
      await new Promise(resolve => setTimeout(resolve, 10));
    }
  }

  /** A dword of guest memory. */
  async number(address: number): Promise<number> {
    const text = await this.hmp(`xp /1xw ${address}`);
    return Number(/: (0x[0-9a-f]+)/.exec(text)![1]);
  }

  /** Until the disk guest has written so often more. */
  async guestWrites(count: number): Promise<void> {
    const before = await this.number(DiskGuest.DONE);
    await this.until(
      `write ${before + count}`,
      async () => (await this.number(DiskGuest.DONE)) >= before + count,
    );
  }

  async dispose(): Promise<void> {
    if (this.disposed) return;
    this.disposed = true;
    this.client.dispose();
    await this.vm.dispose();
    rmSync(this.dir, { recursive: true, force: true });
  }
}
