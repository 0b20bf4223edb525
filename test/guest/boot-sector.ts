/**
 * A boot sector that tests put on a disk, and a kernel that firmware starts: each says that it runs
 * on COM1, and then does what a character on COM1 asks for. 16-bit code by hand.
 */

/** What it says, with the number of the boot. */
export const BOOTED = 'boot sector runs';

/** The characters that it obeys: r resets by port 0xcf9, p powers off, e says one more word. */
export const Ask = { RESET: 'r', POWER_OFF: 'p', ECHO: 'e' } as const;
export const ECHOED = 'still here';

const SECTOR = 512;
const TEXT_AT = 0x80;
const ECHO_AT = 0xc0;
/** Behind the header's fields. */
const CODE_AT = 0x80;

export function bootSector(): Buffer {
  const b = program([0x31, 0xc0], 0x7c00, BOOTED); // xor ax,ax
  b.writeUInt16LE(0xaa55, SECTOR - 2);
  // One bootable partition, or some firmware does not take the disk for one.
  b.set([0x80, 0, 2, 0, 0x83, 0, 2, 0, 1, 0, 0, 0, 1, 0, 0, 0], 0x1be);
  return b;
}

/** What the setup code of `kernelImage` says. */
export const KERNEL_RUNS = 'setup code runs';

/** A bzImage of boot protocol 2.12 that goes no further than its setup code. */
export function kernelImage(payload: Buffer): Buffer {
  const header = Buffer.alloc(SECTOR);
  header[0x1f1] = 2;
  header.writeUInt32LE(Math.ceil(payload.length / 16), 0x1f4);
  header.writeUInt16LE(0xaa55, 0x1fe);
  const setup = Buffer.alloc(2 * SECTOR);
  setup.set([0xeb, 0x7e]); // jmp over the rest of the header, whose end that tells
  setup.write('HdrS', 2, 'latin1');
  setup.writeUInt16LE(0x020c, 6);
  setup[0x11] = 0x01; // loadflags: LOADED_HIGH
  setup.writeUInt32LE(0x7fff_ffff, 0x2c); // initrd_addr_max
  setup.writeUInt16LE(1, 0x36); // xloadflags: a 64-bit entry
  setup.writeUInt32LE(255, 0x38); // cmdline_size
  setup.writeBigUInt64LE(0x10_0000n, 0x58); // pref_address
  setup.writeUInt32LE(0x10_0000, 0x60); // init_size
  setup.set(program([0x8c, 0xc8], CODE_AT, KERNEL_RUNS), CODE_AT); // mov ax,cs
  return Buffer.concat([header, setup, payload, Buffer.alloc(-payload.length & 15)]);
}

/** At `origin` of the segment that `segment` leaves in ax. */
function program(segment: readonly number[], origin: number, text: string): Buffer {
  const b = Buffer.alloc(SECTOR);
  const word = (value: number) => [value & 0xff, value >> 8];
  let at = 0;
  const put = (...bytes: number[]) => {
    b.set(
      bytes.map(byte => byte & 0xff),
      at,
    );
    at += bytes.length;
  };
  put(0xfa, ...segment, 0x8e, 0xd8); // cli; ...; mov ds,ax
  put(0xbe, ...word(origin + TEXT_AT)); // mov si, text
  const print = at;
  put(0xac, 0x08, 0xc0, 0x74, 0x06); // lodsb; or al,al; jz +6
  put(0xba, 0xf8, 0x03, 0xee); // mov dx,0x3f8; out dx,al
  put(0xeb, print - (at + 2)); // jmp print
  const wait = at;
  put(0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01); // mov dx,0x3fd; in al,dx; test al,1
  put(0x74, wait - (at + 2)); // jz wait
  put(0xba, 0xf8, 0x03, 0xec); // mov dx,0x3f8; in al,dx
  put(0x3c, Ask.RESET.charCodeAt(0), 0x75, 0x06); // cmp al,'r'; jne +6
  put(0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee); // mov dx,0xcf9; mov al,6; out dx,al
  put(0x3c, Ask.POWER_OFF.charCodeAt(0), 0x75, 0x07); // cmp al,'p'; jne +7
  put(0xba, 0x04, 0x06, 0xb8, 0x00, 0x34, 0xef); // mov dx,0x604; mov ax,0x3400; out dx,ax
  put(0x3c, Ask.ECHO.charCodeAt(0), 0xbe, ...word(origin + ECHO_AT)); // cmp al,'e'; mov si, echo
  put(0x74, print - (at + 2)); // je print
  put(0xeb, wait - (at + 2)); // jmp wait
  b.write(`${text}\r\n\0`, TEXT_AT, 'latin1');
  b.write(`${ECHOED}\r\n\0`, ECHO_AT, 'latin1');
  return b;
}
