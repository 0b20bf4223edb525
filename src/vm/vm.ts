/**
 * A virtual machine: machine, disks, network, character devices, objects, COLO and traces, put
 * together from a spec and the ports of a host. Built whole, or nothing is left open.
 */
import { Disposables, type Disposable } from '../base/disposable.js';
import { asVmError, type VmError } from '../base/errors.js';
import type { BlockLayer } from '../block/layer/layer.js';
import type { Colo } from '../colo/colo.js';
import type { Machine } from '../machine/machine.js';
import type { CheckedSpec } from '../machine/check-spec.js';
import type { Chardevs } from './chardevs.js';
import { coloOf } from './colo.js';
import type { VmHost } from './host.js';
import { comesByItself } from './incoming.js';
import type { Network } from './network.js';
import { addObjects } from './objects.js';
import type { Objects } from './objects/registry.js';
import { openParts, type OpenParts } from './parts.js';
import { TraceSwitches } from './traces.js';

export class Vm {
  readonly machine: Machine;
  readonly block: BlockLayer;
  readonly network: Network;
  readonly chardevs: Chardevs;
  readonly objects: Objects;
  readonly colo: Colo;
  private readonly users = new Disposables();
  private readonly startedMs: number;
  private readonly pairListeners: (() => void)[] = [];

  private constructor(
    parts: OpenParts,
    readonly traces: TraceSwitches,
    readonly host: VmHost,
  ) {
    this.startedMs = host.clock.nowMs();
    ({
      machine: this.machine,
      block: this.block,
      network: this.network,
      chardevs: this.chardevs,
      objects: this.objects,
    } = parts);
    this.colo = coloOf({ ...parts, pairChanged: () => this.pairChanged() }, host);
    this.block.stopVm = () => this.machine.lifecycle.ioError();
  }

  /** traces: those that are printed from the first on. */
  static async build(
    spec: CheckedSpec,
    host: VmHost,
    traces = new TraceSwitches(line => host.note(line)),
  ): Promise<Vm> {
    const vm = new Vm(await openParts(spec, host), traces, host);
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
   * Resolves when the guest runs, waits for `cont`, or waits for a migration. VmError: the state
   * that it was to go on from is no good.
   */
  async start(): Promise<void> {
    const { incoming } = this.spec;
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

  /** Of this process, wherever: COLO is not to build on what that left. */
  internalError(error: VmError): void {
    this.colo.internalError(error);
  }

  /** It uses the VM, and ends after it. */
  endsLast(user: Disposable): void {
    this.users.add(user);
  }

  async dispose(): Promise<void> {
    await this.colo.depart('its process was ended in order');
    this.colo.dispose();
    await this.objects.close();
    await this.machine.dispose();
    this.users.dispose();
    this.traces.dispose();
  }

  private pairChanged(): void {
    for (const fn of this.pairListeners) fn();
  }
}
