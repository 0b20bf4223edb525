/** Protocol `nbd`: a disk behind one NBD connection. When the link has failed every request fails at once; there is no reconnecting. */
import { VmError } from '../../base/errors.js';
import type { Clock, Sockets } from '../../host/ports.js';
import type { BlockDriver } from '../driver.js';
import { NbdClient, type NbdClientOptions } from '../nbd/client.js';
import { CmdFlag, ExportFlag, NbdCmd } from '../nbd/codec.js';

export class NbdDriver implements BlockDriver {
  readonly format = 'nbd';
  readonly length: number;
  readonly readOnly: boolean;
  readonly maxTransfer: number;

  private constructor(
    private readonly client: NbdClient,
    private readonly options: NbdClientOptions,
    readOnly: boolean,
  ) {
    this.length = client.info.size;
    this.readOnly = readOnly || this.offers(ExportFlag.READ_ONLY);
    this.maxTransfer = client.info.maxTransfer;
  }

  static async open(host: { sockets: Sockets; clock: Clock }, options: NbdClientOptions, readOnly: boolean): Promise<NbdDriver> {
    return new NbdDriver(await NbdClient.connect(host, options), options, readOnly);
  }

  /** Of the link, for good. */
  get error(): VmError | undefined {
    return this.client.error;
  }

  /** Who must know at once, not only at the next request. */
  set onFailure(fn: (error: VmError) => void) {
    this.client.onFailure = fn;
  }

  get exportName(): string {
    return this.options.exportName;
  }

  pread(offset: number, length: number): Promise<Buffer> {
    return this.client.request(NbdCmd.READ, 0, offset, length);
  }

  async pwrite(offset: number, data: Uint8Array, fua: boolean): Promise<void> {
    const flag = fua && this.offers(ExportFlag.SEND_FUA) ? CmdFlag.FUA : 0;
    await this.client.request(NbdCmd.WRITE, flag, offset, data.length, data);
    if (fua && flag === 0) await this.flush();
  }

  /** A server without flush has nothing volatile (proto.md, NBD_FLAG_SEND_FLUSH). */
  async flush(): Promise<void> {
    if (this.offers(ExportFlag.SEND_FLUSH)) await this.client.request(NbdCmd.FLUSH, 0, 0, 0);
  }

  async discard(offset: number, length: number): Promise<void> {
    if (this.offers(ExportFlag.SEND_TRIM)) await this.client.request(NbdCmd.TRIM, 0, offset, length);
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    if (this.offers(ExportFlag.SEND_WRITE_ZEROES)) await this.client.request(NbdCmd.WRITE_ZEROES, 0, offset, length);
    else await this.client.request(NbdCmd.WRITE, 0, offset, length, Buffer.alloc(length));
  }

  yank(): void {
    this.client.abort(new VmError('the connection was yanked'));
  }

  async close(): Promise<void> {
    this.client.close();
  }

  describe() {
    const { address, exportName } = this.options;
    const server = address.kind === 'tcp' ? `${address.host}:${address.port}` : address.path;
    return { server, export: exportName, connected: this.client.error === undefined };
  }

  private offers(flag: number): boolean {
    return (this.client.info.flags & flag) !== 0;
  }
}
