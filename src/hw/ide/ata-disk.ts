/**
 * An ATA disk (ATA/ATAPI-6, T13/1410D): the commands of the general and the 48-bit feature set.
 * What is optional and not here is aborted, as the standard has it: SMART, security, packets.
 */
import { VmError } from '../../base/errors.js';
import { u8 } from '../../fields/field.js';
import { vmstate } from '../../fields/vmstate.js';
import type { BlockBackend } from '../../block/contract/backend.js';
import type { StateOf } from '../device.js';
import type { GuestClock } from '../wiring.js';
import {
  ATA_SECTOR,
  HEADS,
  identifyDisk,
  knownMode,
  MULTIPLE_MAX,
  SECTORS_PER_TRACK,
} from './ata-identify.js';
import { IdeDrive, type IdePort } from './drive.js';
import {
  BUFFER_BYTES,
  checkDrive,
  DeviceBits,
  DIAGNOSE,
  driveFields,
  IdeError,
  Reg,
  AtaStatus,
} from './drive-state.js';

const Command = {
  RECALIBRATE: 0x10,
  SEEK: 0x70,
  SET_GEOMETRY: 0x91,
  SET_MULTIPLE: 0xc6,
  FLUSH: 0xe7,
  FLUSH_EXT: 0xea,
  IDENTIFY: 0xec,
  SET_FEATURES: 0xef,
  READ_NATIVE_MAX: 0xf8,
  READ_NATIVE_MAX_EXT: 0x27,
} as const;
/** STANDBY and IDLE, at once or not, SLEEP; the old codes too. A disk never sleeps. */
const POWER = [0xe0, 0xe1, 0xe2, 0xe3, 0xe6, 0x94, 0x95, 0x96, 0x97, 0x99];
const CHECK_POWER = [0xe5, 0x98];
const ACTIVE = 0xff;
const Feature = {
  WRITE_CACHE: 0x02,
  TRANSFER_MODE: 0x03,
  NO_WRITE_CACHE: 0x82,
  /** Look-ahead, defaults kept over a reset: nothing changes. */
  NOTHING: [0x55, 0xaa, 0x66, 0xcc],
} as const;

interface Transfer {
  readonly kind: 'read' | 'write' | 'verify';
  readonly wide?: boolean;
  readonly dma?: boolean;
  readonly multiple?: boolean;
  readonly fua?: boolean;
}
const TRANSFERS = new Map<number, Transfer>([
  [0x20, { kind: 'read' }],
  [0x21, { kind: 'read' }],
  [0x24, { kind: 'read', wide: true }],
  [0x25, { kind: 'read', wide: true, dma: true }],
  [0x29, { kind: 'read', wide: true, multiple: true }],
  [0x30, { kind: 'write' }],
  [0x31, { kind: 'write' }],
  [0x34, { kind: 'write', wide: true }],
  [0x35, { kind: 'write', wide: true, dma: true }],
  [0x39, { kind: 'write', wide: true, multiple: true }],
  [0x3d, { kind: 'write', wide: true, dma: true, fua: true }],
  [0x40, { kind: 'verify' }],
  [0x41, { kind: 'verify' }],
  [0x42, { kind: 'verify', wide: true }],
  [0xc4, { kind: 'read', multiple: true }],
  [0xc5, { kind: 'write', multiple: true }],
  [0xc8, { kind: 'read', dma: true }],
  [0xc9, { kind: 'read', dma: true }],
  [0xca, { kind: 'write', dma: true }],
  [0xcb, { kind: 'write', dma: true }],
  [0xce, { kind: 'write', wide: true, multiple: true, fua: true }],
]);

export const ataDiskState = vmstate(
  'ide-hd',
  1,
  {
    ...driveFields,
    multiple: u8.range(0, MULTIPLE_MAX).initially(MULTIPLE_MAX),
    heads: u8.range(1, 16).initially(HEADS),
    sectorsPerTrack: u8.range(1, 255).initially(SECTORS_PER_TRACK),
  },
  state => {
    checkDrive(state);
    if (state.phase === 'packet') throw new VmError('a disk takes no packets');
  },
);

export class AtaDisk extends IdeDrive<StateOf<typeof ataDiskState>> {
  readonly vmstate = ataDiskState;
  state = ataDiskState.reset();
  protected readonly signature = [1, 1, 0, 0];
  protected readonly readyStatus = AtaStatus.READY;

  constructor(
    id: string,
    backend: BlockBackend,
    port: IdePort,
    clock: Pick<GuestClock, 'soon'>,
    private readonly serial: string,
  ) {
    super(id, backend, port, clock);
  }

  protected interrupts(): boolean {
    return false;
  }

  protected command(code: number): void {
    const transfer = TRANSFERS.get(code);
    if (transfer) return this.transfer(transfer);
    if (POWER.includes(code)) return this.done();
    const s = this.state;
    switch (code) {
      case Command.IDENTIFY:
        s.block = 1;
        return this.send({ dma: false, data: this.identity() });
      case Command.FLUSH:
      case Command.FLUSH_EXT:
        return this.waitForMedium();
      case Command.SET_FEATURES:
        return this.setFeatures();
      case Command.SET_MULTIPLE:
        return this.setMultiple(s.registers[Reg.COUNT]);
      case Command.SET_GEOMETRY:
        s.heads = (s.registers[Reg.DEVICE] & 0x0f) + 1;
        s.sectorsPerTrack = s.registers[Reg.COUNT] || s.sectorsPerTrack;
        return this.done();
      case DIAGNOSE:
        this.sign();
        return this.setInterrupt(true);
      case Command.READ_NATIVE_MAX:
        this.putAddress(Math.min(this.sectors, 2 ** 28) - 1);
        return this.done();
      case Command.READ_NATIVE_MAX_EXT:
        this.putAddress(this.sectors - 1);
        return this.done();
      default:
        return this.other(code);
    }
  }

  private other(code: number): void {
    if (CHECK_POWER.includes(code)) {
      this.state.registers[Reg.COUNT] = ACTIVE;
      return this.done();
    }
    const group = code & 0xf0;
    if (group === Command.RECALIBRATE || group === Command.SEEK) return this.done();
    this.abort();
  }

  private get sectors(): number {
    return Math.floor(this.backend.length / ATA_SECTOR);
  }

  private identity(): Buffer {
    const { multiple, writeCache, dmaMode } = this.state;
    const { sectors, serial } = this;
    return identifyDisk({ sectors, serial, multiple, writeCache, dmaMode });
  }

  private setFeatures(): void {
    const s = this.state;
    const feature = s.registers[Reg.ERROR];
    const mode = s.registers[Reg.COUNT];
    if (feature === Feature.WRITE_CACHE) {
      s.writeCache = true;
    } else if (feature === Feature.NO_WRITE_CACHE) {
      s.writeCache = false;
      return this.waitForMedium();
    } else if (feature === Feature.TRANSFER_MODE && knownMode(mode)) {
      if (mode >= 0x10) s.dmaMode = mode;
    } else if (!Feature.NOTHING.some(code => code === feature)) {
      return this.abort();
    }
    this.done();
  }

  private setMultiple(count: number): void {
    if (count > MULTIPLE_MAX || (count & (count - 1)) !== 0) return this.abort();
    this.state.multiple = count;
    this.done();
  }

  // --- data

  private transfer({ kind, wide = false, dma = false, multiple = false, fua }: Transfer): void {
    const s = this.state;
    if (multiple && s.multiple === 0) return this.abort();
    const { count, lba } = this.addressed(wide);
    if (lba < 0 || lba + count > this.sectors) return this.abort(IdeError.NO_ID);
    if (kind === 'verify') return this.done();
    s.lba = lba;
    s.left = count;
    s.block = multiple ? s.multiple : 1;
    s.fua = fua === true || !s.writeCache;
    if (kind === 'read') this.send({ dma });
    else this.take(dma);
  }

  /** lba -1: by cylinder, head and sector, and there is none. */
  private addressed(wide: boolean): { count: number; lba: number } {
    const { registers: r, previous: p, heads, sectorsPerTrack } = this.state;
    const low = r[Reg.LOW] + r[Reg.MID] * 2 ** 8 + r[Reg.HIGH] * 2 ** 16;
    const device = r[Reg.DEVICE];
    if (wide) {
      const high = p[Reg.LOW] + p[Reg.MID] * 2 ** 8 + p[Reg.HIGH] * 2 ** 16;
      return { count: p[Reg.COUNT] * 256 + r[Reg.COUNT] || 65536, lba: low + high * 2 ** 24 };
    }
    const count = r[Reg.COUNT] || 256;
    if ((device & DeviceBits.LBA) !== 0) return { count, lba: low + (device & 0x0f) * 2 ** 24 };
    const track = (r[Reg.MID] + r[Reg.HIGH] * 256) * heads + (device & 0x0f);
    const sector = r[Reg.LOW];
    const exists = sector > 0 && sector <= sectorsPerTrack && (device & 0x0f) < heads;
    return { count, lba: exists ? track * sectorsPerTrack + sector - 1 : -1 };
  }

  /** Where 28 bits of it are looked for, and where 48 are. */
  private putAddress(lba: number): void {
    const { registers: r, previous: p } = this.state;
    const byte = (n: number) => Math.floor(lba / 2 ** (8 * n)) & 0xff;
    r.set([byte(0), byte(1), byte(2)], Reg.LOW);
    p.set([byte(3), byte(4), byte(5)], Reg.LOW);
    r[Reg.DEVICE] = (r[Reg.DEVICE] & 0xf0) | (byte(3) & 0x0f);
  }

  protected blockOf(): number {
    return Math.max(this.state.block, 1) * ATA_SECTOR;
  }

  protected nextOut(): number {
    const { dma, left, block } = this.state;
    const most = dma ? BUFFER_BYTES / ATA_SECTOR : Math.max(block, 1);
    return Math.min(left, most) * ATA_SECTOR;
  }

  protected fetch(): void {
    const s = this.state;
    const sectors = Math.min(s.left, BUFFER_BYTES / ATA_SECTOR);
    const length = sectors * ATA_SECTOR;
    if (s.lba + sectors > this.sectors) return this.abort(IdeError.NO_ID);
    const { lba } = s;
    this.ask(
      'read',
      () => this.backend.pread(lba * ATA_SECTOR, length),
      data => {
        s.buffer = data ?? Buffer.alloc(length);
        s.at = s.blockEnd = 0;
        s.lba += sectors;
        s.left -= sectors;
      },
    );
  }

  /** The buffer is the request's until it is answered, and a checkpoint has it if it failed. */
  protected store(): void {
    const s = this.state;
    const sectors = s.buffer.length / ATA_SECTOR;
    if (!Number.isInteger(sectors) || sectors > s.left || s.lba + sectors > this.sectors)
      return this.abort(IdeError.NO_ID);
    const { lba, buffer, fua } = s;
    this.ask(
      'write',
      () => this.backend.pwrite(lba * ATA_SECTOR, buffer, { fua }),
      () => {
        s.buffer = Buffer.alloc(0);
        s.at = s.blockEnd = 0;
        s.lba += sectors;
        s.left -= sectors;
      },
    );
  }

  /** A read by PIO ended with its last block, whose interrupt was the last. */
  protected completed(): void {
    const s = this.state;
    const interrupt = s.phase !== 'in' || s.dma;
    this.end(AtaStatus.READY | AtaStatus.SEEK_DONE, { interrupt });
  }

  protected override diskFailed(kind: 'read' | 'write'): void {
    this.putAddress(this.state.lba);
    super.diskFailed(kind);
  }
}
