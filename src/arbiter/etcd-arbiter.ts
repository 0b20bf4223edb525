/**
 * `etcd:URL,...,key=KEY`: one key of an etcd (v3, its JSON gateway). Reads are linearizable; a
 * change is a transaction that compares the key's mod_revision, and that may be sent to several
 * servers: one of its copies is carried out, and the others find its result.
 */
import { asVmError, VmError } from '../base/errors.js';
import { printable } from '../base/printable.js';
import type { Clock, Http, X509Credentials } from '../host/ports.js';
import { AskAround, EndpointFailure } from './ask-around.js';
import { type Arbiter, ArbiterAway, checkNext, type Held, type SwapResult } from './contract.js';
import { type EtcdAnswer, answerOf, type EtcdValue, requestOf } from './etcd-messages.js';
import { type ArbiterRecord, decodeRecord, encodeRecord } from './record.js';

const ANSWER_BYTES_MAX = 64 * 1024;

export interface EtcdOptions {
  readonly endpoints: readonly string[];
  readonly key: string;
  readonly timeoutMs: number;
  readonly credentials?: X509Credentials;
}

export class EtcdArbiter implements Arbiter {
  readonly name: string;
  readonly keeps = 'shared';
  /** Whose answers were believed first. */
  private cluster: { id: string; endpoint: string } | undefined;
  /** An etcd that has answered with this one never answers with an earlier one. */
  private revision = 0n;

  constructor(
    private readonly http: Http,
    private readonly clock: Clock,
    private readonly options: EtcdOptions,
  ) {
    this.name = `etcd:${options.endpoints.join(',')},key=${options.key}`;
  }

  async read(): Promise<Held | undefined> {
    const { current } = await this.ask(requestOf.range(this.options.key));
    return current && { record: this.decode(current), version: current.modRevision };
  }

  async compareAndSet(held: Held | undefined, next: ArbiterRecord): Promise<SwapResult> {
    checkNext(held, next);
    const value = encodeRecord(next);
    const { key } = this.options;
    const { done, current } = await this.ask(requestOf.swap(key, held?.version ?? '0', value));
    // A copy that came later, or whose first sending had no answer, finds what the first one did.
    return done || current?.value.equals(value) ? 'won' : 'lost';
  }

  dispose(): void {}

  private async ask(request: { path: string; body: string }): Promise<EtcdAnswer> {
    const { endpoints, timeoutMs } = this.options;
    try {
      return await new AskAround(this.clock, endpoints, timeoutMs, (endpoint, leftMs) =>
        this.askOne(endpoint, leftMs, request),
      ).answer();
    } catch (error) {
      const { message } = asVmError(error);
      if (error instanceof EndpointFailure)
        throw new ArbiterAway(`the arbiter '${this.name}' is away: ${message}`, { cause: error });
      throw asVmError(error).during(`the arbiter '${this.name}' cannot be believed`);
    }
  }

  private async askOne(
    endpoint: string,
    timeoutMs: number,
    { path, body }: { path: string; body: string },
  ): Promise<EtcdAnswer> {
    const { credentials, key } = this.options;
    const asked = this.revision;
    const answer = await this.http
      .post({ url: endpoint + path, body, timeoutMs, bytesMax: ANSWER_BYTES_MAX, credentials })
      .then(({ status, body: text }) => answerOf(status, text, key))
      .catch((error: unknown) => {
        throw new EndpointFailure(`${endpoint}: ${printable(asVmError(error).message, 200)}`);
      });
    this.check(endpoint, answer, asked);
    return answer;
  }

  /** VmError: the servers that were named are not one etcd, or it has lost what it had. */
  private check(endpoint: string, { cluster, revision }: EtcdAnswer, asked: bigint): void {
    this.cluster ??= { id: cluster, endpoint };
    if (this.cluster.id !== cluster) {
      throw new VmError(
        `${endpoint} belongs to cluster ${cluster}, ${this.cluster.endpoint} to ${this.cluster.id}`,
        { hint: 'All endpoints of an arbiter are members of one etcd.' },
      );
    }
    if (revision < asked) {
      throw new VmError(
        `${endpoint} answers with revision ${revision}, where ${asked} was there before`,
        { hint: 'An etcd that was restored from a backup has forgotten who won: decide by hand.' },
      );
    }
    if (revision > this.revision) this.revision = revision;
  }

  private decode({ value }: EtcdValue): ArbiterRecord {
    try {
      return decodeRecord(value);
    } catch (error) {
      throw asVmError(error).during(`the record at key '${this.options.key}' cannot be used`);
    }
  }
}
