/**
 * zstd, as node:zlib would have it. It only computes, so it is imported directly and is no port, as
 * zlib is none.
 */
import { hostModule } from './addon.js';

/**
 * The first frame of `data`, at most so many bytes of it. An Error that says what is wrong with the
 * frame.
 */
export const zstdDecompress = (data: Uint8Array, most: number): Promise<Buffer> =>
  hostModule().zstdDecompress(data, most);

export const zstdCompress = (data: Uint8Array): Promise<Buffer> => hostModule().zstdCompress(data);
