/**
 * The destination of a migration without COLO, or the reader of a state file. Everything is here
 * and checked before it says `loaded`; it runs after `go`, when it has the images' locks. What
 * arrives damaged, cut short or for another machine is refused whole: the guest does not run, and
 * another try may follow.
 */
import { VmError } from '../base/errors.js';
import type { Channel } from './channel.js';
import { unexpected } from './link.js';
import { manifestDifference } from './manifest.js';
import { type TransferMessage, receiveState } from './messages.js';
import { Rounds } from './rounds.js';
import { takeImages, Transfer, type TransferPorts } from './transfer.js';

type DeviceState = Extract<TransferMessage, { type: 'device-state' }>;

export class Incoming extends Transfer {
  private accepted = false;
  /** Set when it is over and the guest does not run. */
  failure: VmError | undefined;

  /** admit: the machine at the other end is equal to ours. A VmError sends it away. */
  constructor(
    ports: TransferPorts,
    channel: Channel,
    private readonly admit: () => void,
  ) {
    super(ports, 'destination', channel);
  }

  protected async converse(): Promise<void> {
    const { limits, migration, vm } = this.ports;
    await this.meet();
    const rounds = new Rounds(vm.ram, migration);
    const { size, pages, ran } = await this.takeRam(rounds);
    const blob = await receiveState(size, limits, () =>
      this.link.expect('blob', limits.idleTimeoutMs),
    );
    if (pages !== rounds.pages)
      throw new VmError(`the state has ${pages} pages of RAM, ${rounds.pages} arrived`);
    const devices = vm.parseDevices(blob);
    if (!this.channel.oneWay) await this.link.send({ type: 'loaded' });
    await this.link.expect('go', limits.idleTimeoutMs);
    await takeImages(this.ports);
    devices.apply();
    vm.runAfterMigration(ran);
    migration.move('completed');
    this.link.post({ type: 'started' });
    await this.link.farewell();
  }

  private async meet(): Promise<void> {
    const { limits, migration, vm } = this.ports;
    const { oneWay } = this.channel;
    // A command may itself wait for its peer, as a listener does.
    const { hello } = await this.link.expect('hello', oneWay ? undefined : limits.replyTimeoutMs);
    if (hello.colo)
      throw new VmError(
        'this machine takes a migration without COLO: the capability x-colo is off here',
        { hint: 'A secondary is started with `colo secondary`.' },
      );
    const difference =
      manifestDifference(hello.manifest, vm.manifest(), 'source') ??
      this.ports.diskObstacle('incoming', !oneWay);
    if (difference !== undefined) throw new VmError(difference);
    this.admit();
    this.accepted = true;
    migration.move('active');
    migration.ramTotalBytes = hello.manifest.ramBytes;
    if (!oneWay) await this.link.send({ type: 'accept' });
  }

  private async takeRam(rounds: Rounds): Promise<DeviceState> {
    for (;;) {
      const message = await this.link.next('waiting for RAM', this.ports.limits.idleTimeoutMs);
      if (rounds.hear(message)) continue;
      if (message.type !== 'device-state' || !rounds.whole) throw unexpected(message.type, 'RAM');
      return message;
    }
  }

  protected override async leave(error: VmError): Promise<void> {
    this.failure = error;
    if (this.accepted && this.ports.migration.status === 'active')
      this.ports.migration.move('failed', error.message);
    await this.sayWhy(error);
  }
}
