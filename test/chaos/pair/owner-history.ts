/** Every owner that the record at a key of an etcd has named: it keeps all revisions. */
import { decodeRecord } from '../../../src/arbiter/record.js';
import type { Http, X509Credentials } from '../../../src/host/ports.js';

const base64 = (text: string) => Buffer.from(text).toString('base64');

interface Revision {
  readonly mod: bigint;
  readonly owner: string;
}

export class OwnerHistory {
  /** The oldest first. */
  private readonly known: Revision[] = [];

  constructor(
    private readonly http: Http,
    private readonly endpoints: readonly string[],
    private readonly key: string,
    private readonly credentials: X509Credentials,
  ) {}

  /** The oldest first. Error: no member answers. */
  async owners(): Promise<string[]> {
    const found: Revision[] = [];
    const last = this.known.at(-1)?.mod ?? 0n;
    let next = await this.at(undefined);
    while (next && next.mod > last) {
      found.unshift(next);
      next = next.mod > 1n ? await this.at(next.mod - 1n) : undefined;
    }
    this.known.push(...found);
    return this.known.map(({ owner }) => owner);
  }

  /** As the key was at that revision; undefined: there was none. */
  private async at(revision: bigint | undefined): Promise<Revision | undefined> {
    const body = JSON.stringify({ key: base64(this.key), revision: String(revision ?? 0n) });
    let failure: unknown;
    for (const endpoint of this.endpoints) {
      try {
        const { credentials } = this;
        const url = `${endpoint}/v3/kv/range`;
        const question = { url, body, timeoutMs: 3000, bytesMax: 65_536, credentials };
        const { status, body: text } = await this.http.post(question);
        if (status !== 200) throw new Error(`${endpoint}: ${status} ${text}`);
        const { kvs } = JSON.parse(text) as { kvs?: { mod_revision: string; value: string }[] };
        if (!kvs) return undefined;
        const { owner } = decodeRecord(Buffer.from(kvs[0].value, 'base64'));
        return { mod: BigInt(kvs[0].mod_revision), owner };
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  }
}
