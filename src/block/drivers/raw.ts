/** Format `raw`: the protocol's bytes as they are. */
import type { BlockDriver, BlockStatus } from '../contract/driver.js';
import { type BlockNode, protocolOf } from '../contract/node.js';
import { inRole } from '../contract/roles.js';

export class RawDriver implements BlockDriver {
  readonly format = 'raw';
  readonly passesThrough = true;

  constructor(
    private readonly file: BlockNode,
    private asked: boolean,
  ) {
    inRole('file', protocolOf(file))?.bitmap.usedAs('raw');
  }

  get readOnly(): boolean {
    return this.asked || this.file.readOnly;
  }

  async reopen(readOnly: boolean): Promise<void> {
    this.asked = readOnly;
  }

  get length(): number {
    return this.file.length;
  }

  resize(length: number): Promise<void> {
    return this.file.resize(length);
  }

  async blockStatus(offset: number, length: number): Promise<BlockStatus> {
    return { ...(await this.file.blockStatus(offset, length)), place: { node: this.file, offset } };
  }

  pread(offset: number, length: number, into?: Buffer): Promise<Buffer> {
    this.file.debugEvent('read_aio');
    return this.file.pread(offset, length, into);
  }

  pwrite(offset: number, data: Uint8Array, fua: boolean): Promise<void> {
    this.file.debugEvent('write_aio');
    return this.file.pwrite(offset, data, fua);
  }

  flush(): Promise<void> {
    this.file.debugEvent('flush_to_os');
    this.file.debugEvent('flush_to_disk');
    return this.file.flush();
  }

  discard(offset: number, length: number): Promise<void> {
    return this.file.discard(offset, length);
  }

  writeZeroes(offset: number, length: number): Promise<void> {
    return this.file.writeZeroes(offset, length);
  }

  async close(): Promise<void> {
    // the graph closes children
  }

  describe() {
    return {};
  }
}
