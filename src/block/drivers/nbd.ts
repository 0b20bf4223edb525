/**
 * Protocol `nbd`: a disk behind one NBD connection. Whether a lost server is waited for is the
 * link's business.
 */
import { VmError } from '../../base/errors.js';
import type { Clock, Sockets } from '../../host/ports.js';
import type { BlockStatus } from '../contract/driver.js';
import type { RemoteDisk } from '../contract/roles.js';
import { CmdFlag, ExportFlag, NbdCmd } from '../nbd/codec.js';
import { claimTls, type CredentialStore } from '../../host/credentials.js';
import { NbdLink, type NbdLinkOptions } from '../nbd/link.js';
import type { NbdSpec } from '../options/nbd.js';

/** A status may be asked for at most so much at once: lengths have 32 bits. */
/** proto.md: the maximum block size bounds payloads; a length has 32 bits. */
const MAX_ZEROES = 0xffff_0000;
const MAX_STATUS = 1024 ** 3;
const ZERO = 2;
const HOLE = 1;

/** user: who uses the credentials. */
export async function openNbd(
  host: { sockets: Sockets; clock: Clock },
  spec: NbdSpec & { readOnly: boolean },
  store: CredentialStore,
  user: string,
): Promise<NbdDriver> {
  const claim =
    spec.tlsCreds === undefined
      ? undefined
      : claimTls(host.sockets, store, spec.tlsCreds, 'client', user);
  const hostname =
    spec.tlsHostname ?? (spec.address.kind === 'tcp' ? spec.address.host : 'localhost');
  const { address, exportName, openTimeoutMs, openRetryMs, requestTimeoutMs, reconnectDelayMs } =
    spec;
  const options: NbdLinkOptions = {
    address,
    exportName,
    connectTimeoutMs: openTimeoutMs,
    openRetryMs,
    requestTimeoutMs,
    reconnectDelayMs,
    tls: claim && { context: claim.value, hostname },
  };
  try {
    return await NbdDriver.open(host, options, spec.readOnly, () => claim?.dispose());
  } catch (error) {
    claim?.dispose();
    throw error;
  }
}

export class NbdDriver implements RemoteDisk {
  readonly format = 'nbd';
  readonly role = 'remote';
  readonly length: number;
  readonly readOnly: boolean;
  readonly maxZeroes?: number;
  readonly maxTransfer: number;
  readonly fastZeroes: boolean;
  readonly blockStatus?: (offset: number, length: number) => Promise<BlockStatus>;

  private constructor(
    private readonly link: NbdLink,
    private readonly options: NbdLinkOptions,
    readOnly: boolean,
    private readonly release: () => void,
  ) {
    const { info } = link;
    this.length = info.size;
    this.readOnly = readOnly || this.offers(ExportFlag.READ_ONLY);
    this.maxTransfer = info.maxTransfer;
    if (this.offers(ExportFlag.SEND_WRITE_ZEROES)) this.maxZeroes = MAX_ZEROES;
    this.fastZeroes = this.offers(ExportFlag.SEND_FAST_ZERO);
    if (info.allocation !== undefined)
      this.blockStatus = (offset, length) => this.status(offset, length);
  }

  /** release: of what the link uses. */
  static async open(
    host: { sockets: Sockets; clock: Clock },
    options: NbdLinkOptions,
    readOnly: boolean,
    release: () => void,
  ): Promise<NbdDriver> {
    return new NbdDriver(await NbdLink.open(host, options), options, readOnly, release);
  }

  /** Of the link, as long as it is not whole. */
  get error(): VmError | undefined {
    return this.link.error;
  }

  /** Who must know at once, not only at the next request. */
  set onFailure(fn: (error: VmError) => void) {
    this.link.onFailure = fn;
  }

  /** The link may heal by itself. */
  get reconnects(): boolean {
    return this.options.reconnectDelayMs > 0;
  }

  get flushes(): boolean {
    return this.offers(ExportFlag.SEND_FLUSH);
  }

  get exportName(): string {
    return this.options.exportName;
  }

  pread(offset: number, length: number): Promise<Buffer> {
    return this.link.request(NbdCmd.READ, 0, offset, length);
  }

  async pwrite(offset: number, data: Uint8Array, fua: boolean): Promise<void> {
    const flag = fua && this.offers(ExportFlag.SEND_FUA) ? CmdFlag.FUA : 0;
    await this.link.request(NbdCmd.WRITE, flag, offset, data.length, data);
    if (fua && flag === 0) await this.flush();
  }

  /** A server without flush has nothing volatile (proto.md, NBD_FLAG_SEND_FLUSH). */
  async flush(): Promise<void> {
    if (this.flushes) await this.link.request(NbdCmd.FLUSH, 0, 0, 0);
  }

  async discard(offset: number, length: number): Promise<void> {
    if (this.offers(ExportFlag.SEND_TRIM)) await this.link.request(NbdCmd.TRIM, 0, offset, length);
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    if (this.offers(ExportFlag.SEND_WRITE_ZEROES))
      await this.link.request(NbdCmd.WRITE_ZEROES, 0, offset, length);
    else await this.link.request(NbdCmd.WRITE, 0, offset, length, Buffer.alloc(length));
  }

  yank(): void {
    this.link.abort(new VmError('the connection was yanked'));
  }

  async close(): Promise<void> {
    this.link.close();
    this.release();
  }

  describe() {
    const { address, exportName } = this.options;
    const server = address.kind === 'tcp' ? `${address.host}:${address.port}` : address.path;
    return {
      server,
      export: exportName,
      connected: this.link.error === undefined,
      tls: this.options.tls !== undefined,
    };
  }

  /** The first run, in whole sectors. */
  private async status(offset: number, length: number): Promise<BlockStatus> {
    const runs = await this.link.request(
      NbdCmd.BLOCK_STATUS,
      0,
      offset,
      Math.min(length, MAX_STATUS),
    );
    const flags = runs.readUInt32BE(4);
    let found = 0;
    for (let at = 0; at < runs.length && runs.readUInt32BE(at + 4) === flags; at += 8)
      found += runs.readUInt32BE(at);
    const whole = Math.min(length, found) - (Math.min(length, found) % 512);
    if (whole === 0) return { length: Math.min(length, 512), allocated: true, zero: false };
    return { length: whole, allocated: (flags & HOLE) === 0, zero: (flags & ZERO) !== 0 };
  }

  private offers(flag: number): boolean {
    return (this.link.info.flags & flag) !== 0;
  }
}
