/**
 * A CD-ROM drive (ATA/ATAPI-6, T13/1410D: the packet feature set). Here is how packets and their
 * data are moved; what a packet asks for is in mmc-commands.ts. The medium is the backend's, the
 * tray and its lock are the device's state, so both sides of a pair agree on them.
 */
import { VmError } from '../../base/errors.js';
import { bool8, bytes, enum8, u16 } from '../../fields/field.js';
import { vmstate } from '../../fields/vmstate.js';
import type { BlockBackend, MediumTray } from '../../block/contract/backend.js';
import { outside } from '../contain.js';
import type { StateOf } from '../device.js';
import type { GuestClock } from '../wiring.js';
import { knownMode } from './ata-identify.js';
import { identifyCd } from './atapi-identify.js';
import { IdeDrive, type IdePort } from './drive.js';
import {
  AtaStatus,
  BUFFER_BYTES,
  checkDrive,
  DeviceBits,
  DIAGNOSE,
  driveFields,
  Reg,
} from './drive-state.js';
import { type MmcUnit, REQUEST_SENSE, runPacket } from './mmc-commands.js';
import { CD_BLOCK, type MediaEvent, mediaEvents, Sense } from './mmc-replies.js';

const Command = {
  DEVICE_RESET: 0x08,
  READ: 0x20,
  PACKET: 0xa0,
  IDENTIFY_PACKET: 0xa1,
  IDENTIFY: 0xec,
  SET_FEATURES: 0xef,
} as const;
/** STANDBY and IDLE, at once or not, SLEEP, FLUSH CACHE: nothing has to be done. */
const NOTHING = [0xe0, 0xe1, 0xe2, 0xe3, 0xe6, 0xe7];
const CHECK_POWER = 0xe5;
const ACTIVE = 0xff;
const TRANSFER_MODE = 0x03;
const KEEP_DEFAULTS = [0x66, 0xcc];
const PACKET_BYTES = 12;
/** In the features of PACKET. */
const Feature = { DMA: 0x01, OVERLAP: 0x02 } as const;
/** In the count register: a command goes there, data comes from there. */
const Reason = { COMMAND: 0x01, TO_HOST: 0x02 } as const;
/** A request of READ CAPACITY has 32 bits. */
const BLOCKS_MAX = 0xffff_ffff;

export const atapiCdState = vmstate(
  'ide-cd',
  1,
  {
    ...driveFields,
    /** Of PACKET: bytes of one block of PIO, and whether its data go by DMA. */
    limit: u16,
    wantsDma: bool8,
    /** The data are a packet's, not those of an ATA command. */
    served: bool8,
    sense: bytes(3),
    /** The guest is to hear that the medium is another one. */
    changed: bool8,
    event: enum8(mediaEvents),
    open: bool8,
    locked: bool8,
  },
  state => {
    checkDrive(state);
    const { phase, dma, buffer } = state;
    if (phase === 'out' || phase === 'flush') throw new VmError('a CD-ROM takes no data');
    if (phase === 'packet' && (dma || buffer.length !== PACKET_BYTES))
      throw new VmError(`a packet of ${buffer.length} bytes`);
  },
);

export class AtapiCd extends IdeDrive<StateOf<typeof atapiCdState>> {
  /** A tray stays where it is. */
  static readonly batteryBacked = ['open'] as const;
  readonly vmstate = atapiCdState;
  state = atapiCdState.reset();
  protected readonly signature = [1, 1, 0x14, 0xeb];
  protected readonly readyStatus = AtaStatus.READY;
  private readonly unit: MmcUnit;

  constructor(
    id: string,
    backend: BlockBackend,
    port: IdePort,
    clock: Pick<GuestClock, 'soon'>,
    private readonly serial: string,
  ) {
    super(id, backend, port, clock);
    this.unit = unitOf(this);
    backend.useTray(trayOf(this));
  }

  override reset(): void {
    const { open } = this.state;
    super.reset();
    this.state.open = open;
  }

  // --- the tray

  get open(): boolean {
    return this.state.open;
  }

  get locked(): boolean {
    return this.state.locked;
  }

  askToOpen(): void {
    this.state.event = 'eject-request';
  }

  move(open: boolean): void {
    const s = this.state;
    if (s.open === open) return;
    s.open = open;
    if (this.backend.hasMedium) {
      s.changed = !open;
      s.event = open ? 'removed' : 'new';
    }
    outside(() => this.backend.trayMoved(open));
  }

  /** What is left over behind the last whole block counts as one, and its rest reads as zero. */
  get blocks(): number | undefined {
    const { hasMedium, length } = this.backend;
    if (!hasMedium || this.state.open) return undefined;
    return Math.min(Math.ceil(length / CD_BLOCK), BLOCKS_MAX);
  }

  // --- ATA

  protected interrupts(code: number): boolean {
    return code === Command.DEVICE_RESET;
  }

  protected command(code: number): void {
    const s = this.state;
    s.served = false;
    if (NOTHING.includes(code)) return this.done();
    switch (code) {
      case Command.PACKET:
        return this.begins();
      case Command.IDENTIFY_PACKET:
        return this.send({
          dma: false,
          data: identifyCd({ serial: this.serial, dmaMode: s.dmaMode }),
        });
      case Command.DEVICE_RESET:
        return this.deviceReset();
      case DIAGNOSE:
        this.sign();
        return this.setInterrupt(true);
      case Command.IDENTIFY:
      case Command.READ:
        // By this a driver that takes it for a disk learns what it is.
        this.sign();
        return this.abort();
      case Command.SET_FEATURES:
        return this.setFeatures(s.registers[Reg.ERROR], s.registers[Reg.COUNT]);
      case CHECK_POWER:
        s.registers[Reg.COUNT] = ACTIVE;
        return this.done();
      default:
        return this.abort();
    }
  }

  /** A packet device is not ready before its first packet. */
  protected override sign(): void {
    super.sign();
    this.state.status = 0;
  }

  private deviceReset(): void {
    const s = this.state;
    const unit = s.registers[Reg.DEVICE] & DeviceBits.UNIT;
    if (s.dma) this.port.dma.stop();
    this.softReset();
    s.registers[Reg.DEVICE] = unit;
  }

  private setFeatures(feature: number, mode: number): void {
    if (feature === TRANSFER_MODE && knownMode(mode)) {
      if (mode >= 0x10) this.state.dmaMode = mode;
    } else if (!KEEP_DEFAULTS.includes(feature)) {
      return this.abort();
    }
    this.done();
  }

  // --- packets

  private begins(): void {
    const s = this.state;
    const features = s.registers[Reg.ERROR];
    if ((features & Feature.OVERLAP) !== 0) return this.abort();
    s.limit = s.registers[Reg.MID] + s.registers[Reg.HIGH] * 256;
    s.wantsDma = (features & Feature.DMA) !== 0;
    s.served = true;
    this.takePacket(PACKET_BYTES);
  }

  protected override packet(): void {
    const s = this.state;
    const packet = s.buffer;
    if (packet[0] !== REQUEST_SENSE) s.sense.fill(0);
    const outcome = runPacket(packet, this.unit, () => this.takeChanged());
    switch (outcome.kind) {
      case 'done':
        return this.packetDone();
      case 'failed':
        return this.check(outcome.sense);
      case 'data':
        if (outcome.bytes.length === 0) return this.packetDone();
        return this.sendReply(outcome.bytes);
      case 'read':
        s.lba = outcome.lba;
        s.left = outcome.count;
        return this.sendReply();
    }
  }

  /** Blocks of PIO have room for two bytes at least. */
  private sendReply(data?: Buffer): void {
    const { wantsDma: dma, limit } = this.state;
    if (!dma && limit < 2) return this.abort();
    this.send({ dma, data });
  }

  private packetDone(): void {
    this.state.registers[Reg.COUNT] = Reason.COMMAND | Reason.TO_HOST;
    this.done();
  }

  /** CHECK CONDITION: the guest asks for the rest by REQUEST SENSE. */
  private check(sense: Sense): void {
    const s = this.state;
    s.sense.set(sense);
    s.registers[Reg.COUNT] = Reason.COMMAND | Reason.TO_HOST;
    this.abort(sense[0] << 4);
  }

  takeSense(): Sense {
    const [key, code, qualifier] = this.state.sense;
    this.state.sense.fill(0);
    if (key === 0 && this.takeChanged()) return Sense.CHANGED;
    return [key, code, qualifier];
  }

  takeEvent(): MediaEvent {
    const { event } = this.state;
    this.state.event = 'none';
    return event;
  }

  private takeChanged(): boolean {
    const { changed } = this.state;
    this.state.changed = false;
    return changed;
  }

  // --- data

  protected blockOf(bytes: number): number {
    const { phase, served, limit } = this.state;
    if (phase === 'packet' || !served || bytes <= limit) return bytes;
    // Only the last block may be odd.
    return Math.max(limit & 0xfffe, 2);
  }

  protected override offered(bytes: number): void {
    const { phase, served, registers } = this.state;
    if (!served) return;
    registers[Reg.COUNT] = phase === 'packet' ? Reason.COMMAND : Reason.TO_HOST;
    if (phase !== 'packet') registers.set([bytes & 0xff, bytes >> 8], Reg.MID);
  }

  protected fetch(): void {
    const s = this.state;
    const { blocks } = this;
    if (blocks === undefined) return this.check(s.open ? Sense.TRAY_OPEN : Sense.NO_MEDIUM);
    if (this.takeChanged()) return this.check(Sense.CHANGED);
    const count = Math.min(s.left, BUFFER_BYTES / CD_BLOCK);
    if (s.lba + count > blocks) return this.check(Sense.OUT_OF_RANGE);
    const offset = s.lba * CD_BLOCK;
    const length = Math.min(count * CD_BLOCK, this.backend.length - offset);
    this.ask(
      'read',
      () => this.backend.pread(offset, length),
      data => {
        s.buffer = Buffer.alloc(count * CD_BLOCK);
        data?.copy(s.buffer);
        s.at = s.blockEnd = 0;
        s.lba += count;
        s.left -= count;
      },
    );
  }

  /** It takes no data. */
  protected store(): void {
    this.abort();
  }

  protected nextOut(): number {
    return 0;
  }

  /** What an ATA command reads by PIO ended with its block, whose interrupt was the last. */
  protected completed(): void {
    if (this.state.served) return this.packetDone();
    this.end(AtaStatus.READY | AtaStatus.SEEK_DONE, { interrupt: false });
  }

  protected override diskFailed(): void {
    this.check(this.backend.hasMedium ? Sense.UNREADABLE : Sense.NO_MEDIUM);
  }
}

/** The drive as packets see it. */
function unitOf(cd: AtapiCd): MmcUnit {
  return {
    get blocks() {
      return cd.blocks;
    },
    get open() {
      return cd.open;
    },
    get locked() {
      return cd.locked;
    },
    set locked(on) {
      cd.state.locked = on;
    },
    moveTray: open => cd.move(open),
    takeEvent: () => cd.takeEvent(),
    takeSense: () => cd.takeSense(),
  };
}

/** The same, for a user outside. */
function trayOf(cd: AtapiCd): MediumTray {
  return {
    get open() {
      return cd.open;
    },
    get locked() {
      return cd.locked;
    },
    askToOpen: cd.guarded(() => cd.askToOpen()),
    move: cd.guarded((open: boolean) => cd.move(open)),
  };
}
