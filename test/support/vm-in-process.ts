/** A whole VM of this process, with its real monitor on a socket. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CheckedSpec } from '../../src/machine/check-spec.js';
import { openMonitors } from '../../src/monitor/open.js';
import { PairTeller } from '../../src/monitor/pair-teller.js';
import { QmpClient } from '../../src/monitor/qmp/client.js';
import { Vm } from '../../src/vm/vm.js';
import { DiskGuest } from './disk-guest.js';
import { testHost } from './vm-host.js';

const limitMs = 15_000;

export class VmInProcess {
  private readonly events: { event: string; data: unknown }[] = [];
  private disposed = false;

  private constructor(
    readonly vm: Vm,
    private readonly client: QmpClient,
    private readonly dir: string,
    /** What its terminal was told of the pair. */
    readonly told: readonly string[],
    /** Lines for people. */
    readonly notes: readonly string[],
  ) {
    client.onEvent(({ event, data }) => void this.events.push({ event, data }));
  }

  /** Its own monitor comes beside those of the spec. */
  static async start(spec: CheckedSpec): Promise<VmInProcess> {
    const dir = mkdtempSync(join(tmpdir(), 'colo-here-'));
    const address = { kind: 'unix', path: join(dir, 'qmp') } as const;
    const backend = { kind: 'socket', address, server: true, wait: false, reconnectMs: 0 } as const;
    const notes: string[] = [];
    const host = testHost(line => void notes.push(line));
    const vm = await Vm.build(
      {
        ...spec,
        chardevs: [...spec.chardevs, { id: 'here', backend }],
        monitors: [...spec.monitors, { mode: 'qmp', chardev: 'here' }],
      },
      host,
    );
    const told: string[] = [];
    const teller = new PairTeller('colo failover NAME', line => told.push(line));
    vm.onPairChanged(() => teller.changed(vm));
    openMonitors(vm);
    await vm.listen();
    const client = await QmpClient.connect(host, address, limitMs);
    const here = new VmInProcess(vm, client, dir, told, notes);
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
