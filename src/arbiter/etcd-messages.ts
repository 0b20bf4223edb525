/** The two questions to etcd's JSON gateway, and what may come back, which is untrusted. */
import { VmError } from '../base/errors.js';
import { printable } from '../base/printable.js';

export interface EtcdValue {
  readonly value: Buffer;
  /** Decimal; of a key that is not there: 0. */
  readonly modRevision: string;
}

export interface EtcdAnswer {
  readonly cluster: string;
  readonly revision: bigint;
  /** The change was made; undefined: none was asked for, or the comparison failed. */
  readonly done: boolean;
  /** Of a range, and of a comparison that failed. */
  readonly current: EtcdValue | undefined;
}

const base64 = (bytes: Uint8Array | string) => Buffer.from(bytes).toString('base64');

export const requestOf = {
  range: (key: string) => ({
    path: '/v3/kv/range',
    body: JSON.stringify({ key: base64(key), serializable: false }),
  }),

  /** Of a key that was last changed at this revision. */
  swap: (key: string, modRevision: string, value: Uint8Array) => ({
    path: '/v3/kv/txn',
    body: JSON.stringify({
      compare: [{ key: base64(key), target: 'MOD', result: 'EQUAL', mod_revision: modRevision }],
      success: [{ request_put: { key: base64(key), value: base64(value) } }],
      failure: [{ request_range: { key: base64(key), serializable: false } }],
    }),
  }),
};

/** VmError: it is no answer of an etcd to such a question. */
export function answerOf(status: number, text: string, key: string): EtcdAnswer {
  const body = objectIn(text);
  if (status !== 200) throw new VmError(refusalOf(status, body));
  const header = object(body?.['header']);
  const cluster = digits(header?.['cluster_id']);
  const revision = digits(header?.['revision']);
  if (!body || cluster === undefined || revision === undefined) throw notEtcd();
  const done = body['succeeded'] === true;
  const range = done ? undefined : rangeIn(body);
  const kvs = range?.['kvs'] ?? [];
  if (!Array.isArray(kvs) || kvs.length > 1) throw notEtcd();
  const current = kvs.length === 0 ? undefined : keyValue(kvs[0], key);
  return { cluster, revision: BigInt(revision), done, current };
}

/** etcd leaves out what is false or empty. */
function rangeIn(body: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { responses } = body;
  if (responses === undefined) return body;
  const first: unknown = Array.isArray(responses) ? responses[0] : undefined;
  const range = object(object(first)?.['response_range']);
  if (!range) throw notEtcd();
  return range;
}

function keyValue(found: unknown, key: string): EtcdValue {
  const kv = object(found);
  const modRevision = digits(kv?.['mod_revision']);
  const value = kv?.['value'] ?? '';
  if (kv?.['key'] !== base64(key) || modRevision === undefined || typeof value !== 'string')
    throw notEtcd();
  return { value: Buffer.from(value, 'base64'), modRevision };
}

function refusalOf(status: number, body: Record<string, unknown> | undefined): string {
  const said = body?.['message'] ?? body?.['error'];
  const words = typeof said === 'string' ? `: ${printable(said, 100)}` : '';
  return `HTTP status ${status}${words}`;
}

const notEtcd = () => new VmError('what it answers is not of an etcd v3');

const digits = (value: unknown): string | undefined =>
  typeof value === 'string' && /^[0-9]{1,20}$/.test(value) ? value : undefined;

const object = (value: unknown): Record<string, unknown> | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;

function objectIn(text: string): Record<string, unknown> | undefined {
  try {
    return object(JSON.parse(text));
  } catch {
    return undefined;
  }
}
