/**
 * What a drive has done, as query-blockstats tells it: operations, bytes, time, failures, by kind.
 */
import type { Clock } from '../../host/ports.js';

export const requestKinds = ['read', 'write', 'flush', 'unmap'] as const;
export type RequestKind = (typeof requestKinds)[number];

interface Counters {
  operations: number;
  bytes: number;
  ns: number;
  failed: number;
  /** Refused before they reached the disk: beyond its end. */
  invalid: number;
}

export class Accounting {
  private readonly byKind: Readonly<Record<RequestKind, Counters>>;
  /** End of the furthest write. */
  highestWrite = 0;
  private lastMs: number | undefined;

  constructor(private readonly clock?: Clock) {
    const none = (): Counters => ({ operations: 0, bytes: 0, ns: 0, failed: 0, invalid: 0 });
    this.byKind = { read: none(), write: none(), flush: none(), unmap: none() };
  }

  now(): number {
    return this.clock?.nowMs() ?? 0;
  }

  done(kind: RequestKind, offset: number, bytes: number, startedMs: number): void {
    const counters = this.byKind[kind];
    counters.operations++;
    counters.bytes += bytes;
    if (kind === 'write') this.highestWrite = Math.max(this.highestWrite, offset + bytes);
    this.took(counters, startedMs);
  }

  failed(kind: RequestKind, startedMs: number): void {
    this.byKind[kind].failed++;
    this.took(this.byKind[kind], startedMs);
  }

  invalid(kind: RequestKind): void {
    this.byKind[kind].invalid++;
    this.lastMs = this.now();
  }

  of(kind: RequestKind): Readonly<Counters> {
    return this.byKind[kind];
  }

  /** Since the last request; undefined before the first. */
  get idleNs(): number | undefined {
    return this.lastMs === undefined ? undefined : Math.round((this.now() - this.lastMs) * 1e6);
  }

  private took(counters: Counters, startedMs: number): void {
    this.lastMs = this.now();
    counters.ns += Math.round((this.lastMs - startedMs) * 1e6);
  }
}
