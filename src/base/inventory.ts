/**
 * Things with ids that others use: objects, chardevs, netdevs. What is used cannot be taken away,
 * and the refusal says by whom.
 */
import type { Disposable } from './disposable.js';
import { deviceNotFound, VmError } from './errors.js';

/** It is in use until this is disposed. */
export interface Claim<T> extends Disposable {
  readonly value: T;
}

interface Entry<T> {
  readonly value: T;
  /** `filter-mirror 'm0'`, `-serial`: as a refusal names them. */
  readonly users: Set<{ readonly name: string }>;
}

export interface InventoryOptions {
  /** object, chardev, netdev. */
  readonly kind: string;
  readonly limit: number;
  /** exclusive: one user at a time. */
  readonly use: 'shared' | 'exclusive';
  duplicate(id: string): VmError;
}

export function checkId(id: string): void {
  if (!/^[A-Za-z][A-Za-z0-9._-]{0,126}$/.test(id)) {
    throw new VmError("Parameter 'id' expects an identifier", {
      hint: `'${id.slice(0, 64)}' is none: letters, digits and - . _, a letter first, at most 127.`,
    });
  }
}

export class Inventory<T> {
  private readonly entries = new Map<string, Entry<T>>();
  /** Being made: their names are taken. */
  private readonly coming = new Set<string>();

  constructor(private readonly options: InventoryOptions) {}

  get ids(): string[] {
    return [...this.entries.keys()];
  }

  get values(): T[] {
    return [...this.entries.values()].map(entry => entry.value);
  }

  get(id: string): T | undefined {
    return this.entries.get(id)?.value;
  }

  /** The name is taken while make runs; nothing is left of one that fails. */
  async add(id: string, make: () => T | Promise<T>): Promise<T> {
    checkId(id);
    const { kind, limit, duplicate } = this.options;
    if (this.entries.has(id) || this.coming.has(id)) throw duplicate(id);
    if (this.entries.size + this.coming.size >= limit)
      throw new VmError(`there are ${limit} ${kind}s already, no more fit`);
    this.coming.add(id);
    try {
      const value = await make();
      this.entries.set(id, { value, users: new Set() });
      return value;
    } finally {
      this.coming.delete(id);
    }
  }

  /** user: as a refusal names it. */
  claim(id: string, user: string): Claim<T> {
    const entry = this.entries.get(id);
    if (!entry) throw deviceNotFound(id);
    if (this.options.use === 'exclusive' && entry.users.size > 0) {
      throw new VmError(`Device '${id}' is in use`, {
        hint: `It belongs to ${this.usersOf(id).join(', ')}; a ${this.options.kind} has one user.`,
      });
    }
    const mark = { name: user };
    entry.users.add(mark);
    return { value: entry.value, dispose: () => void entry.users.delete(mark) };
  }

  usersOf(id: string): string[] {
    return [...(this.entries.get(id)?.users ?? [])].map(user => user.name);
  }

  /** Out of the inventory; undefined: there is none. What to do with it is the caller's. */
  take(id: string): T | undefined {
    const entry = this.entries.get(id);
    if (!entry) return undefined;
    if (entry.users.size > 0)
      throw new VmError(`${this.options.kind} '${id}' is in use by ${this.usersOf(id).join(', ')}`);
    this.entries.delete(id);
    return entry.value;
  }
}
