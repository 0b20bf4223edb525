/** QEMU's option lists: `a,key=value,flag,path=/with,,comma`; or a flat JSON object. */
import { VmError } from '../base/errors.js';
import { parseJsonObject } from './json.js';
import { integerOf, needSwitch } from './scalars.js';

export interface KeyValue {
  readonly key: string;
  /** undefined: a bare word. */
  readonly value: string | undefined;
}

/** In order. A doubled comma stands for one. implied: the key of a first item without `=`. */
export function parseKeyValues(text: string, implied?: string): KeyValue[] {
  const items = splitCommas(text);
  return items.map((item, i) => {
    const equals = item.indexOf('=');
    if (equals > 0) return { key: item.slice(0, equals), value: item.slice(equals + 1) };
    if (equals === 0) throw new VmError(`'${item}' has no name before the =`);
    return i === 0 && implied !== undefined
      ? { key: implied, value: item }
      : { key: item, value: undefined };
  });
}

/** The same from `{"driver": "virtio-blk-pci", "drive": "disk0"}`, where that is taken too. */
export function parseItems(text: string, implied?: string): KeyValue[] {
  if (!text.startsWith('{')) return parseKeyValues(text, implied);
  return Object.entries(parseJsonObject(text)).map(([key, value]) => ({
    key,
    value: wordOf(key, value),
  }));
}

function wordOf(key: string, value: unknown): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  if (typeof value === 'string' || typeof value === 'number') return String(value);
  throw new VmError(`'${key}' is a word, a number or a boolean`);
}

/** Splits at single commas; empty items are mistakes. */
export function splitCommas(text: string): string[] {
  const items = [''];
  for (let i = 0; i < text.length; i++) {
    if (text[i] !== ',') items[items.length - 1] += text[i];
    else if (text[i + 1] === ',') items[items.length - 1] += text[i++];
    else items.push('');
  }
  if (items.length > 1 && items.includes(''))
    throw new VmError(`'${text}' has an empty item between commas`);
  return items;
}

/** Takes keys out one by one; done() refuses what is left, by name. */
export class KeyValues {
  private readonly left = new Map<string, string | undefined>();

  constructor(items: readonly KeyValue[]) {
    for (const { key, value } of items) {
      if (this.left.has(key)) throw new VmError(`'${key}' is given twice`);
      this.left.set(key, value);
    }
  }

  has(key: string): boolean {
    return this.left.has(key);
  }

  take(key: string): string | undefined {
    const value = this.left.get(key);
    if (value === undefined && this.left.has(key))
      throw new VmError(`'${key}' needs a value: ${key}=...`);
    this.left.delete(key);
    return value;
  }

  need(key: string): string {
    const value = this.take(key);
    if (value === undefined || value === '') throw new VmError(`'${key}' is missing: ${key}=...`);
    return value;
  }

  /** `key`, `key=on`, `key=off`, and QEMU's old `nokey`. */
  takeBool(key: string): boolean | undefined {
    const negated = `no${key}`;
    if (this.left.has(negated) && this.left.get(negated) === undefined) {
      this.left.delete(negated);
      return false;
    }
    if (!this.left.has(key)) return undefined;
    const value = this.left.get(key) ?? 'on';
    this.left.delete(key);
    return needSwitch(value, `'${key}'`);
  }

  /** The value; `on` for a bare word, as in QEMU. An empty one is one. */
  takeText(key: string): string | undefined {
    if (!this.left.has(key)) return undefined;
    const value = this.left.get(key) ?? 'on';
    this.left.delete(key);
    return value;
  }

  takeInteger(key: string, range: { min: number; max: number }): number | undefined {
    const text = this.take(key);
    if (text === undefined) return undefined;
    const value = integerOf(text);
    if (value === undefined || value < range.min || value > range.max)
      throw new VmError(`'${key}' is a number from ${range.min} to ${range.max}, not '${text}'`);
    return value;
  }

  /** The keys that were not taken. */
  get rest(): [string, string][] {
    return [...this.left].map(([key, value]) => [key, value ?? 'on']);
  }

  done(known: string): void {
    const [unknown] = this.left.keys();
    if (unknown !== undefined)
      throw new VmError(`'${unknown}' is not supported here; colo knows: ${known}`);
  }
}
