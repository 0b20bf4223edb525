/**
 * How firmware is told to place tables that refer to each other (the linker and loader script of
 * fw_cfg: entries of 128 bytes, little endian, as SeaBIOS and OVMF read them).
 */
const ENTRY = 128;
const NAME = 56;
const Command = { ALLOCATE: 1, ADD_POINTER: 2, ADD_CHECKSUM: 3 } as const;
/** Where a file goes: anywhere, or where a search for the RSDP finds it. */
export const Zone = { HIGH: 1, FSEG: 2 } as const;

export class TableLoader {
  private readonly entries: Buffer[] = [];

  allocate(file: string, align: number, zone: number): void {
    const e = this.entry(Command.ALLOCATE);
    e.write(file, 4, 'latin1');
    e.writeUInt32LE(align, 4 + NAME);
    e[8 + NAME] = zone;
  }

  /** At offset of `file` stands an offset in `target`: the address where that lies is added. */
  pointer(file: string, target: string, offset: number, size: number): void {
    const e = this.entry(Command.ADD_POINTER);
    e.write(file, 4, 'latin1');
    e.write(target, 4 + NAME, 'latin1');
    e.writeUInt32LE(offset, 4 + 2 * NAME);
    e[8 + 2 * NAME] = size;
  }

  /** The byte at offset makes [start, start+length) of the file sum up to zero. */
  checksum(file: string, offset: number, start: number, length: number): void {
    const e = this.entry(Command.ADD_CHECKSUM);
    e.write(file, 4, 'latin1');
    e.writeUInt32LE(offset, 4 + NAME);
    e.writeUInt32LE(start, 8 + NAME);
    e.writeUInt32LE(length, 12 + NAME);
  }

  bytes(): Buffer {
    return Buffer.concat(this.entries);
  }

  private entry(command: number): Buffer {
    const e = Buffer.alloc(ENTRY);
    e.writeUInt32LE(command, 0);
    this.entries.push(e);
    return e;
  }
}
