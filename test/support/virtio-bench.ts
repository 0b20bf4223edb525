/** One virtio function on a PCI bus with its driver, for the device tests. */
import type { Ram } from '../../src/accel/contract.js';
import { PciBus } from '../../src/hw/pci/bus.js';
import { HostBridge } from '../../src/hw/pci/host.js';
import type { VirtioModel } from '../../src/hw/virtio/model.js';
import { VirtioPci } from '../../src/hw/virtio/virtio-pci.js';
import { Bench } from './device-bench.js';
import { DriverQueue, F, PciDriver } from './virtio-driver.js';

export class VirtioBench<S> extends Bench {
  readonly pci: PciBus;
  readonly device: VirtioPci<S>;

  constructor(make: (bench: Bench) => VirtioModel<S>, ram?: Ram) {
    super(ram);
    this.pci = new PciBus(this.bus.ports, this.bus.mmio, this.irqs);
    const bridge = new HostBridge('pci-host', this.pci, this.powerControl, this.vm.ram);
    this.pci.plug(bridge, 0);
    bridge.attach(this.bus.ports, this.bus.mmio);
    this.device = new VirtioPci('dev0', this.vm, make(this), this.clock);
    this.pci.plug(this.device);
    this.pci.firmwareSetup();
    this.device.resume();
  }

  driver(): PciDriver {
    return new PciDriver(this, 1);
  }

  /** Driver up, queue i at (1 + i) * 64 KiB, MSI-X vector i for queue i. */
  up(
    features: readonly number[],
    queues = 1,
    size = 16,
  ): { driver: PciDriver; queues: DriverQueue[] } {
    const driver = this.driver();
    const accepted = driver.negotiate([F.VERSION_1, ...features]);
    const eventIdx = (accepted & (1n << BigInt(F.EVENT_IDX))) !== 0n;
    driver.enableMsix(queues + 1);
    driver.write(0x10, queues, 2);
    const list = Array.from(
      { length: queues },
      (_, i) => new DriverQueue(driver, i, size, 0x10000 * (1 + i), eventIdx, i),
    );
    driver.ready();
    return { driver, queues: list };
  }
}
