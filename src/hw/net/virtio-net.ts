/**
 * Virtio network device (virtio 1.1, section 5.1): one pair of queues and a control queue,
 * mergeable receive buffers, no offloads. Back-pressure goes both ways: a frame that the netdev
 * does not take stays in the guest's ring, a frame that the guest has no buffer for stays in the
 * netdev. In one turn of the main loop it handles no more than VIRTIO_TURN, all queues together.
 */
import { event, tracer } from '../../base/trace.js';
import { bool8, bytes, record } from '../../fields/field.js';
import type { Netdev, NicPort } from '../../net/contract.js';
import { fromOutside, outside } from '../contain.js';
import { Turn, VIRTIO_TURN } from '../turn.js';
import type { Chain } from '../virtio/chain.js';
import { type VirtioHost, VirtioModel } from '../virtio/model.js';
import type { Virtqueue } from '../virtio/virtqueue.js';
import { accepts, ETHERNET_HEADER, rxFilterField, setTables } from './rx-filter.js';

const trace = tracer('virtio_net', {
  tx: event<{ netdev: string; length: number }>(),
  rx: event<{ netdev: string; length: number }>(),
  drop: event<{ netdev: string; length: number }>(),
  announce: event<{ netdev: string }>(),
});

const F = {
  MAC: 5,
  MRG_RXBUF: 15,
  STATUS: 16,
  CTRL_VQ: 17,
  CTRL_RX: 18,
  GUEST_ANNOUNCE: 21,
  CTRL_MAC_ADDR: 23,
} as const;
const Queue = { RX: 0, TX: 1, CONTROL: 2 } as const;
const LinkStatus = { UP: 1, ANNOUNCE: 2 } as const;
const Class = { RX: 0, MAC: 1, ANNOUNCE: 3 } as const;
const RxCommand = { PROMISCUOUS: 0, ALL_MULTICAST: 1 } as const;
const MacCommand = { TABLE_SET: 0, ADDRESS_SET: 1 } as const;
const ANNOUNCE_ACK = 0;
const Ack = { OK: 0, ERROR: 1 } as const;
/** struct virtio_net_hdr with num_buffers, which version 1 always has. */
const HEADER = 12;
const NUM_BUFFERS = 10;
const MAX_FRAME = 65_550;
const MAX_CONTROL = 4096;
/**
 * A frame whose buffers are in more pieces than this is dropped: with pieces of 64 bytes it would
 * fit.
 */
const MAX_FRAME_DESCRIPTORS = 2048;

export const netState = record({
  mac: bytes(6),
  announcePending: bool8,
  filter: rxFilterField,
});
type NetState = ReturnType<typeof netState.reset>;

export class VirtioNet extends VirtioModel<NetState> implements NicPort {
  readonly name = 'virtio-net';
  readonly deviceId = 1;
  readonly classCode = 0x020000;
  readonly queueCount = 3;
  readonly features = [
    F.MAC,
    F.MRG_RXBUF,
    F.STATUS,
    F.CTRL_VQ,
    F.CTRL_RX,
    F.GUEST_ANNOUNCE,
    F.CTRL_MAC_ADDR,
  ];
  readonly stateField;
  /** The netdev has no room: the transmit queue waits. */
  private blocked = false;
  private readonly turn = new Turn(
    VIRTIO_TURN,
    fn => this.host.soon(fn),
    () => this.goOn(),
  );
  private paused = true;
  private announceLater = false;

  constructor(
    readonly netdev: Netdev,
    private readonly label: Uint8Array,
  ) {
    super();
    // A fresh NIC has the address of its label and takes everything until the driver says
    // otherwise.
    this.stateField = {
      ...netState,
      reset: () => ({
        ...netState.reset(),
        mac: Buffer.from(label),
        filter: { ...rxFilterField.reset(), promiscuous: true },
      }),
    };
    netdev.attachNic(this);
  }

  override connect(host: VirtioHost<NetState>): void {
    super.connect(host);
    this.netdev.onRoom(host.guarded(() => this.hasRoom()));
  }

  /** The address that the driver uses now. */
  get mac(): Uint8Array {
    return this.isConnected ? this.state.mac : this.label;
  }

  /**
   * The guest shall tell the network where it is (after a failover): now, or when it runs again.
   */
  announce(): void {
    this.announceLater = this.paused;
    if (!this.paused && this.host.has(F.GUEST_ANNOUNCE)) this.tellDriver();
  }

  private tellDriver(): void {
    trace.announce?.({ netdev: this.netdev.id });
    this.state.announcePending = true;
    this.host.contain(() => this.host.configChanged(), undefined);
  }

  readConfig(): Buffer {
    const b = Buffer.alloc(10);
    b.set(this.state.mac, 0);
    b.writeUInt16LE(LinkStatus.UP + (this.state.announcePending ? LinkStatus.ANNOUNCE : 0), 6);
    b.writeUInt16LE(1, 8);
    return b;
  }

  override deviceReset(): void {
    this.blocked = false;
    this.turn.end();
  }

  /** Nothing is ever in flight: a frame is either in a ring or in the netdev. */
  override async pause(): Promise<void> {
    this.paused = true;
    this.turn.end();
    outside(() => this.netdev.setRunning(false));
  }

  override resume(): void {
    this.paused = false;
    this.blocked = false;
    outside(() => this.netdev.setRunning(true));
    if (this.announceLater) this.announce();
  }

  handleQueue(queue: Virtqueue): void {
    switch (queue.index) {
      case Queue.RX:
        outside(() => this.netdev.nicReady());
        break;
      case Queue.TX:
        this.transmit(queue);
        break;
      default:
        this.control(queue);
    }
  }

  // --- guest -> world

  private transmit(queue: Virtqueue): void {
    if (this.blocked || !this.turn.open) return;
    let sent = 0;
    queue.disableNotify();
    do {
      for (let chain = this.next(queue); chain; chain = this.next(queue)) {
        if (!this.send(chain)) {
          queue.unpop(1);
          this.blocked = true;
          break;
        }
        queue.push(chain, 0);
        sent++;
      }
    } while (!this.blocked && this.turn.open && queue.enableNotify());
    if (sent > 0) this.host.returned(queue);
    this.host.checkFault(queue);
  }

  /** The next chain, while there is something left of this turn. */
  private next(queue: Virtqueue): Chain | undefined {
    const chain = this.turn.open ? queue.pop() : undefined;
    if (chain) this.turn.spend(chain.descriptors, chain.readLength);
    return chain;
  }

  /** False: no room now. What is no frame is dropped, as a cable would. */
  private send(chain: Chain): boolean {
    const length = chain.readLength - HEADER;
    if (length < ETHERNET_HEADER || length > MAX_FRAME) {
      trace.drop?.({ netdev: this.netdev.id, length });
      return true;
    }
    trace.tx?.({ netdev: this.netdev.id, length });
    const frame = chain.read(this.host.ram, HEADER, length);
    try {
      return this.netdev.send(frame);
    } catch (error) {
      throw fromOutside(error);
    }
  }

  /** In the next turn, with what was left lying. */
  private goOn(): void {
    for (const queue of this.host.queues)
      if (this.host.running && queue.usable) this.handleQueue(queue);
  }

  private hasRoom(): void {
    this.blocked = false;
    const queue = this.host.queues[Queue.TX];
    if (this.host.running && queue.usable) this.transmit(queue);
  }

  // --- world -> guest

  /** False: the guest has no buffer (or the VM is stopped); the netdev keeps the frame. */
  receive(frame: Uint8Array): boolean {
    if (this.paused) return false;
    try {
      return this.take(frame);
    } catch (error) {
      this.host.broke(error);
      return true;
    }
  }

  private take(frame: Uint8Array): boolean {
    const queue = this.host.queues[Queue.RX];
    const { state } = this;
    if (
      !this.host.running ||
      !queue.usable ||
      frame.length < ETHERNET_HEADER ||
      frame.length > MAX_FRAME
    )
      return this.drop(frame);
    if (!accepts(state.filter, state.mac, frame)) return this.drop(frame);
    if (!this.turn.open) return false;
    const chains = this.buffers(queue, HEADER + frame.length);
    if (!chains) return this.noBuffer(queue);
    if (chains.length === 0) return this.drop(frame);
    this.fill(queue, chains, frame);
    trace.rx?.({ netdev: this.netdev.id, length: frame.length });
    this.host.returned(queue);
    return true;
  }

  private drop(frame: Uint8Array): true {
    trace.drop?.({ netdev: this.netdev.id, length: frame.length });
    return true;
  }

  /**
   * A buffer may have come between our look and our asking for a doorbell: then the frame is asked
   * for at once.
   */
  private noBuffer(queue: Virtqueue): boolean {
    this.host.checkFault(queue);
    if (queue.enableNotify(queue.pending)) this.turn.again();
    return false;
  }

  /**
   * Chains with room for size bytes: undefined = not (yet) there; empty = the one buffer that there
   * is cannot hold it.
   */
  private buffers(queue: Virtqueue, size: number): Chain[] | undefined {
    const chains: Chain[] = [];
    let room = 0;
    let descriptors = 0;
    while (room < size) {
      const chain = descriptors < MAX_FRAME_DESCRIPTORS ? queue.pop() : undefined;
      if (!chain) {
        queue.unpop(chains.length);
        return descriptors < MAX_FRAME_DESCRIPTORS ? undefined : [];
      }
      chains.push(chain);
      room += chain.writeLength;
      descriptors += chain.descriptors;
      this.turn.spend(chain.descriptors, 0);
      if (chain.writeLength < HEADER) {
        this.host.fail(`receive buffer of ${chain.writeLength} bytes`);
        return [];
      }
      if (room < size && !this.host.has(F.MRG_RXBUF)) {
        queue.unpop(1);
        return [];
      }
    }
    return chains;
  }

  private fill(queue: Virtqueue, chains: Chain[], frame: Uint8Array): void {
    const { ram } = this.host;
    const header = Buffer.alloc(HEADER);
    header.writeUInt16LE(chains.length, NUM_BUFFERS);
    let done = 0;
    chains.forEach((chain, i) => {
      const start = i === 0 ? chain.write(ram, 0, header) : 0;
      const n = chain.write(ram, start, frame.subarray(done));
      done += n;
      queue.fill(i, chain, start + n);
    });
    queue.flush(chains.length);
  }

  // --- control queue: header (class, command), data, one byte of acknowledgement

  private control(queue: Virtqueue): void {
    if (!this.turn.open) return;
    let done = 0;
    do {
      for (let chain = this.next(queue); chain; chain = this.next(queue)) {
        if (chain.readLength < 2 || chain.writeLength < 1)
          return this.host.fail('control request without header or acknowledgement');
        const request = chain.read(this.host.ram, 0, Math.min(chain.readLength, MAX_CONTROL));
        const ack = this.command(request[0], request[1], request.subarray(2)) ? Ack.OK : Ack.ERROR;
        chain.write(this.host.ram, chain.writeLength - 1, Uint8Array.of(ack));
        queue.push(chain, 1);
        done++;
      }
    } while (this.turn.open && queue.enableNotify());
    if (done > 0) this.host.returned(queue);
    this.host.checkFault(queue);
  }

  private command(cls: number, command: number, data: Buffer): boolean {
    switch (cls) {
      case Class.RX:
        return this.rxCommand(command, data);
      case Class.MAC:
        return this.macCommand(command, data);
      case Class.ANNOUNCE:
        if (command !== ANNOUNCE_ACK) return false;
        this.state.announcePending = false;
        return true;
      default:
        return false;
    }
  }

  private rxCommand(command: number, data: Buffer): boolean {
    const { filter } = this.state;
    if (data.length < 1) return false;
    if (command === RxCommand.PROMISCUOUS) filter.promiscuous = data[0] !== 0;
    else if (command === RxCommand.ALL_MULTICAST) filter.allMulticast = data[0] !== 0;
    else return false;
    return true;
  }

  private macCommand(command: number, data: Buffer): boolean {
    if (command === MacCommand.TABLE_SET) return setTables(this.state.filter, data);
    if (command !== MacCommand.ADDRESS_SET || data.length !== 6) return false;
    this.state.mac = Buffer.from(data);
    return true;
  }
}
