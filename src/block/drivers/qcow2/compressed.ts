/** Compressed clusters: zstd, or raw deflate with a window of 4 KiB, as others expect it. */
import { promisify } from 'node:util';
import { deflateRaw, inflateRaw } from 'node:zlib';
import { VmError } from '../../../base/errors.js';
import { zstdCompress, zstdDecompress } from '../../../host/node/zstd.js';
import { ioError } from '../../contract/io-error.js';
import type { BlockNode } from '../../contract/node.js';
import type { Cluster } from './entries.js';
import type { Qcow2Header } from './header.js';

const inflate = promisify(inflateRaw) as (data: Buffer, options: object) => Promise<Buffer>;
const deflate = promisify(deflateRaw) as (data: Uint8Array, options: object) => Promise<Buffer>;

type Codec = {
  unpack(data: Buffer, bytes: number): Promise<Buffer>;
  pack(data: Uint8Array): Promise<Buffer>;
};
const codecs: Record<Qcow2Header['compression'], Codec> = {
  zlib: {
    unpack: (data, bytes) => inflate(data, { maxOutputLength: bytes }),
    pack: data => deflate(data, { windowBits: 12 }),
  },
  zstd: { unpack: zstdDecompress, pack: zstdCompress },
};

export async function readCompressed(
  file: BlockNode,
  header: Qcow2Header,
  cluster: Cluster,
): Promise<Buffer> {
  const start = cluster.offset - (cluster.offset % 512);
  // The last sector may be cut off with the file.
  const end = Math.min(cluster.offset + cluster.bytes, file.length);
  const sectors = await file.pread(start, Math.ceil((end - start) / 512) * 512);
  let data: Buffer;
  try {
    data = await codecs[header.compression].unpack(
      sectors.subarray(cluster.offset - start, end - start),
      header.clusterSize,
    );
  } catch (error) {
    throw new VmError(
      `qcow2: compressed cluster at 0x${cluster.offset.toString(16)}: ${(error as Error).message}`,
      { cause: { code: 'EIO' } },
    );
  }
  if (data.length !== header.clusterSize)
    throw ioError(
      'EIO',
      `qcow2: compressed cluster at 0x${cluster.offset.toString(16)} holds ${data.length} ` +
        `bytes, not ${header.clusterSize}`,
    );
  return data;
}

/** Undefined when nothing is gained. */
export async function compress(
  data: Uint8Array,
  compression: Qcow2Header['compression'],
): Promise<Buffer | undefined> {
  const packed = await codecs[compression].pack(data);
  return packed.length < data.length - 512 ? packed : undefined;
}
