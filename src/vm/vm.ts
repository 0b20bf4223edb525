/**
 * A virtual machine: machine, disks, network, character devices, objects, COLO and traces, put
 * together from a spec and the ports of a host. Built whole, or nothing is left open.
 */
import type { PairArbiter } from '../colo/contract.js';
import { Disposables, type Disposable } from '../base/disposable.js';
import { asVmError, VmError } from '../base/errors.js';
import type { BlockLayer } from '../block/layer/layer.js';
import type { ColoController } from '../colo/controller.js';
import type { Machine } from '../machine/machine.js';
import type { CheckedSpec } from '../machine/check-spec.js';
import type { MigrationTls } from '../migration/security.js';
import type { VncServer } from '../vnc/server.js';
import type { Chardevs } from './chardevs.js';
import { arbiterOf } from './arbiter.js';
import { coloOf } from './colo.js';
import type { VmHost } from './host.js';
import { comesByItself } from './incoming.js';
import type { Network } from './network.js';
import { addObjects, credentialsOf } from './objects.js';
import type { Objects } from './objects/registry.js';
import { assemble, type VmAssembly } from './parts.js';
import { TraceSwitches } from './traces.js';

export class Vm {
  readonly machine: Machine;
  readonly block: BlockLayer;
  readonly network: Network;
  readonly chardevs: Chardevs;
  readonly objects: Objects;
  readonly colo: ColoController;
  /** Of the next connection of a migration. */
  readonly migrationTls: MigrationTls = { creds: '', hostname: '' };
  /** undefined: -vnc was not given, or it is not open yet. */
  vnc: VncServer | undefined;
  private readonly users = new Disposables();
  private readonly startedMs: number;
  private readonly pairListeners: (() => void)[] = [];

  private constructor(
    assembly: VmAssembly,
    readonly traces: TraceSwitches,
    readonly host: VmHost,
    arbiter: PairArbiter | undefined,
  ) {
    this.startedMs = host.clock.nowMs();
    ({
      machine: this.machine,
      block: this.block,
      network: this.network,
      chardevs: this.chardevs,
      objects: this.objects,
    } = assembly);
    const pairChanged = () => this.pairChanged();
    const credentials = credentialsOf(this.objects);
    const tls = this.migrationTls;
    this.colo = coloOf({ ...assembly, arbiter, credentials, tls, pairChanged }, host);
    if (arbiter) this.users.add(arbiter.arbiter);
    this.block.stopVm = () => this.machine.lifecycle.ioError();
    this.block.media.requireFree = name => this.requireMediaFree(name);
  }

  /** traces: those that are printed from the first on. */
  static async build(
    spec: CheckedSpec,
    host: VmHost,
    traces = new TraceSwitches(line => host.note(line)),
  ): Promise<Vm> {
    const arbiter = await arbiterOf(spec, host);
    const vm = new Vm(await assemble(spec, host), traces, host, arbiter);
    try {
      await addObjects(spec, vm.objects, 'late');
      return vm;
    } catch (error) {
      await vm.dispose();
      throw error;
    }
  }

  get spec(): CheckedSpec {
    return this.machine.spec;
  }

  get ageMs(): number {
    return Math.round(this.host.clock.nowMs() - this.startedMs);
  }

  /** Waits for the guest that -incoming announces, if it comes to an address. */
  async listen(): Promise<void> {
    const { incoming } = this.spec;
    if (incoming !== undefined && comesByItself(incoming)) await this.colo.listen(incoming);
  }

  /**
   * Resolves when the guest runs, waits for `cont`, or waits for a migration. Throws a VmError when
   * the saved state that it should start from cannot be used.
   */
  async start(): Promise<void> {
    const { incoming, startPaused } = this.spec;
    if (incoming === undefined && !startPaused) await this.colo.firstRun?.admit();
    await this.machine.startGuest();
    if (incoming === undefined || incoming === 'defer' || comesByItself(incoming)) return;
    await this.colo.load(incoming).catch((error: unknown) => {
      throw asVmError(error).during(`-incoming ${incoming}`);
    });
  }

  /** The machine ends after this turn of the main loop: the answer to the command still leaves. */
  quit(): void {
    this.host.clock.timer(0, () => this.machine.quit('host-qmp-quit'));
  }

  /** The pair stands in another way than before; called in a turn of the main loop of its own. */
  onPairChanged(fn: () => void): void {
    this.pairListeners.push(fn);
  }

  /**
   * An exception that nothing in this process caught: COLO must not build a checkpoint on the state
   * that it left.
   */
  internalError(error: VmError): void {
    this.colo.internalError(error);
  }

  /** The object uses the VM; it is disposed of after the VM has ended. */
  endsLast(user: Disposable): void {
    this.users.add(user);
  }

  async dispose(): Promise<void> {
    await this.colo.depart('its process was ended in order');
    this.colo.dispose();
    const written = this.objects.close();
    await this.machine.dispose();
    await written;
    this.users.dispose();
    this.traces.dispose();
  }

  /** The other side would keep the medium that it has. */
  private requireMediaFree(name: string): void {
    const { mode, migration } = this.colo;
    if (mode !== 'none')
      throw new VmError(`the medium of '${name}' stays as it is within COLO`, {
        hint: 'Both sides hold the same one. x_colo_lost_heartbeat ends COLO.',
      });
    if (migration.busy) throw new VmError(`the medium of '${name}' stays as it is in a migration`);
  }

  private pairChanged(): void {
    for (const fn of this.pairListeners) fn();
  }
}
