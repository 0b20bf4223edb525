/**
 * The shell of a bzImage: a header that a loader believes, and a payload of halts; code: where its
 * 64-bit entry is.
 */
export function fakeKernel({
  code = Buffer.alloc(0),
  payloadBytes = 4096,
  initBytes = 1 << 20,
  preferred = 0x100_0000,
}: { code?: Buffer; payloadBytes?: number; initBytes?: number; preferred?: number } = {}): Buffer {
  const image = Buffer.alloc(1024 + payloadBytes, 0xf4);
  image.fill(0, 0, 1024);
  code.copy(image, 1024 + 0x200);
  image[0x1f1] = 1; // setup_sects
  image.writeUInt32LE(payloadBytes / 16, 0x1f4); // syssize
  image.writeUInt16LE(0xaa55, 0x1fe);
  image[0x201] = 0x6a; // jump: where the header ends
  image.writeUInt32LE(0x53726448, 0x202);
  image.writeUInt16LE(0x020f, 0x206); // protocol 2.15
  image.writeUInt32LE(0x7fff_ffff, 0x22c); // initrd_addr_max
  image.writeUInt32LE(0x20_0000, 0x230); // kernel_alignment
  image[0x234] = 1; // relocatable
  image.writeUInt16LE(1, 0x236); // 64-bit entry
  image.writeUInt32LE(2047, 0x238); // cmdline_size
  image.writeBigUInt64LE(BigInt(preferred), 0x258);
  image.writeUInt32LE(initBytes, 0x260);
  return image;
}
