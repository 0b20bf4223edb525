/**
 * The smallest image of a CD-ROM that firmware boots without emulation (ECMA-119; "El Torito"
 * Bootable CD-ROM Format Specification 1.0): descriptors, a catalogue with one entry, its program.
 */
const BLOCK = 2048;
const Block = { DESCRIPTORS: 16, CATALOGUE: 19, PROGRAM: 20, ALL: 24 } as const;
/** Sectors of 512 bytes that firmware loads. */
const LOADED = 4;

/** program: loaded to 0x7c00. */
export function bootableIso(program: Buffer): Buffer {
  const iso = Buffer.alloc(Block.ALL * BLOCK);
  const descriptor = (n: number, type: number) => {
    const at = (Block.DESCRIPTORS + n) * BLOCK;
    iso[at] = type;
    iso.write('CD001\x01', at + 1, 'latin1');
    return at;
  };
  const volume = descriptor(0, 1);
  iso.write('COLO'.padEnd(32), volume + 8, 'latin1');
  iso.write('BOOT'.padEnd(32), volume + 40, 'latin1');
  iso.writeUInt32LE(Block.ALL, volume + 80);
  iso.writeUInt32BE(Block.ALL, volume + 84);
  const record = descriptor(1, 0);
  iso.write('EL TORITO SPECIFICATION', record + 7, 'latin1');
  iso.writeUInt32LE(Block.CATALOGUE, record + 0x47);
  descriptor(2, 255);
  iso.set(catalogue(), Block.CATALOGUE * BLOCK);
  iso.set(program, Block.PROGRAM * BLOCK);
  return iso;
}

function catalogue(): Buffer {
  const entries = Buffer.alloc(64);
  entries[0] = 1;
  entries.writeUInt16LE(0xaa55, 30);
  let sum = 0;
  for (let at = 0; at < 32; at += 2) sum += entries.readUInt16LE(at);
  entries.writeUInt16LE(-sum & 0xffff, 28);
  entries[32] = 0x88;
  entries.writeUInt16LE(LOADED, 32 + 6);
  entries.writeUInt32LE(Block.PROGRAM, 32 + 8);
  return entries;
}
