/**
 * The field language: one declaration gives the layout, the type, the codec, the reset value and
 * the checks of untrusted input. It serves device state, wire frames, on-disk headers and packet
 * headers. Big-endian unless `le` is asked for.
 */
import { VmError } from '../base/errors.js';
import { without32 } from '../base/unsigned.js';
import { Reader, Writer } from './bytes.js';

export interface Field<T> {
  /** Bytes if fixed, else undefined. */
  readonly size: number | undefined;
  write(w: Writer, value: T): void;
  /** version: of the record being read, for fields that came later. */
  read(r: Reader, version: number): T;
  reset(): T;
}
export type Of<F> = F extends Field<infer T> ? T : never;

/** A number with its refinements. */
export interface NumberField extends Field<number> {
  /** Must equal value; also its reset value. */
  is(value: number): NumberField;
  range(min: number, max: number): NumberField;
  /** No other bits than these. */
  mask(bits: number): NumberField;
  initially(value: number): NumberField;
  /** Present since this version of the enclosing vmstate; older input gives `otherwise`. */
  from(version: number, otherwise: number): NumberField;
}

function numberField(
  size: number,
  put: (b: Buffer, v: number, at: number) => void,
  get: (b: Buffer, at: number) => number,
  initial = 0,
  check?: (v: number) => void,
): NumberField {
  const refine = (more: (v: number) => void, value = initial) =>
    numberField(size, put, get, value, v => {
      check?.(v);
      more(v);
    });
  return {
    size,
    reset: () => initial,
    write(w, value) {
      const at = w.reserve(size);
      put(w.target, value, at);
    },
    read(r) {
      const value = get(r.source, r.take(size));
      check?.(value);
      return value;
    },
    is: expected =>
      refine(v => {
        if (v !== expected)
          throw new VmError(`0x${v.toString(16)} where 0x${expected.toString(16)} must stand`);
      }, expected),
    range: (min, max) =>
      refine(v => {
        if (v < min || v > max) throw new VmError(`${v} is not in ${min}..${max}`);
      }),
    mask: bits =>
      refine(v => {
        if (without32(v, bits) !== 0)
          throw new VmError(`0x${v.toString(16)} has bits outside of 0x${bits.toString(16)}`);
      }),
    initially: value => numberField(size, put, get, value, check),
    from(since, otherwise) {
      const base = numberField(size, put, get, initial, check);
      return {
        ...base,
        size: undefined,
        read: (r, version) => (version >= since ? base.read(r, version) : otherwise),
      };
    },
  };
}

const u53get = (b: Buffer, at: number, little: boolean) => {
  const value = little ? b.readBigUInt64LE(at) : b.readBigUInt64BE(at);
  if (value > BigInt(Number.MAX_SAFE_INTEGER))
    throw new VmError(`0x${value.toString(16)} does not fit 53 bits`);
  return Number(value);
};

export const u8 = numberField(
  1,
  (b, v, at) => b.writeUInt8(v, at),
  (b, at) => b.readUInt8(at),
);
export const u16 = numberField(
  2,
  (b, v, at) => b.writeUInt16BE(v, at),
  (b, at) => b.readUInt16BE(at),
);
export const u32 = numberField(
  4,
  (b, v, at) => b.writeUInt32BE(v, at),
  (b, at) => b.readUInt32BE(at),
);
export const i32 = numberField(
  4,
  (b, v, at) => b.writeInt32BE(v, at),
  (b, at) => b.readInt32BE(at),
);
/** A u64 on the wire, a checked number here. */
export const u53 = numberField(
  8,
  (b, v, at) => b.writeBigUInt64BE(BigInt(v), at),
  (b, at) => u53get(b, at, false),
);

export const le = {
  u16: numberField(
    2,
    (b, v, at) => b.writeUInt16LE(v, at),
    (b, at) => b.readUInt16LE(at),
  ),
  u32: numberField(
    4,
    (b, v, at) => b.writeUInt32LE(v, at),
    (b, at) => b.readUInt32LE(at),
  ),
  u53: numberField(
    8,
    (b, v, at) => b.writeBigUInt64LE(BigInt(v), at),
    (b, at) => u53get(b, at, true),
  ),
};

/** 64 bits, with their refinement. */
export interface BigField extends Field<bigint> {
  below(limit: bigint): BigField;
}

function bigField(check: (v: bigint) => void = () => undefined): BigField {
  return {
    size: 8,
    reset: () => 0n,
    write(w, value) {
      const at = w.reserve(8);
      w.target.writeBigUInt64BE(value, at);
    },
    read(r) {
      const value = r.source.readBigUInt64BE(r.take(8));
      check(value);
      return value;
    },
    below: limit =>
      bigField(v => {
        check(v);
        if (v >= limit) throw new VmError(`${v} is not below ${limit}`);
      }),
  };
}

/** Full 64 bits. */
export const u64 = bigField();

export const bool8: Field<boolean> = {
  size: 1,
  reset: () => false,
  write: (w, value) => u8.write(w, value ? 1 : 0),
  read(r, version) {
    const value = u8.read(r, version);
    if (value > 1) throw new VmError(`${value} is not a boolean`);
    return value === 1;
  },
};

/** Exactly n bytes. */
export function bytes(n: number): Field<Buffer> {
  return {
    size: n,
    reset: () => Buffer.alloc(n),
    write(w, value) {
      if (value.length !== n) throw new VmError(`${value.length} bytes where ${n} must stand`);
      w.bytes(value);
    },
    read: r => Buffer.from(r.bytes(n)),
  };
}

/** A u32 length, then that many bytes, at most max. */
export function blob(max: number): Field<Buffer> {
  return {
    size: undefined,
    reset: () => Buffer.alloc(0),
    write(w, value) {
      if (value.length > max) throw new VmError(`${value.length} bytes, at most ${max} allowed`);
      u32.write(w, value.length);
      w.bytes(value);
    },
    read(r, version) {
      const length = u32.read(r, version);
      if (length > max) throw new VmError(`${length} bytes, at most ${max} allowed`);
      return Buffer.from(r.bytes(length));
    },
  };
}

/** UTF-8 with a u32 length in bytes, at most max. */
export function text(max: number): Field<string> {
  const inner = blob(max);
  return {
    size: undefined,
    reset: () => '',
    write: (w, value) => inner.write(w, Buffer.from(value, 'utf8')),
    read: (r, version) => inner.read(r, version).toString('utf8'),
  };
}

/** Exactly n elements. */
export function array<T>(element: Field<T>, n: number): Field<T[]> {
  return {
    size: element.size === undefined ? undefined : element.size * n,
    reset: () => Array.from({ length: n }, () => element.reset()),
    write(w, value) {
      if (value.length !== n) throw new VmError(`${value.length} elements where ${n} must stand`);
      for (const item of value) element.write(w, item);
    },
    read: (r, version) => Array.from({ length: n }, () => element.read(r, version)),
  };
}

/** A u32 count, then the elements, at most max. */
export function counted<T>(element: Field<T>, max: number): Field<T[]> {
  return {
    size: undefined,
    reset: () => [],
    write(w, value) {
      if (value.length > max) throw new VmError(`${value.length} elements, at most ${max} allowed`);
      u32.write(w, value.length);
      for (const item of value) element.write(w, item);
    },
    read(r, version) {
      const count = u32.read(r, version);
      if (count > max) throw new VmError(`${count} elements, at most ${max} allowed`);
      return Array.from({ length: count }, () => element.read(r, version));
    },
  };
}

/** Present since this version of the enclosing vmstate; older input gives its reset value. */
export function since<T>(version: number, field: Field<T>): Field<T> {
  return {
    ...field,
    size: undefined,
    read: (r, from) => (from >= version ? field.read(r, from) : field.reset()),
  };
}

/** One of a fixed set of words, stored as its index. */
export function enum8<const W extends readonly string[]>(words: W): Field<W[number]> {
  return {
    size: 1,
    reset: () => words[0],
    write: (w, value) => u8.write(w, words.indexOf(value)),
    read(r, version) {
      const index = u8.read(r, version);
      if (index >= words.length) throw new VmError(`${index} is none of ${words.join(', ')}`);
      return words[index];
    },
  };
}

type Values<S> = { -readonly [K in keyof S]: S[K] extends Field<infer T> ? T : never };

export interface RecordField<S> extends Field<Values<S>> {
  readonly fields: S;
  encode(value: Values<S>): Buffer;
  /** Whole input: too short and too long are errors. */
  decode(data: Uint8Array, version?: number): Values<S>;
}

/** Named fields in order. An error names the field. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export function record<S extends { [K in keyof S]: Field<any> }>(fields: S): RecordField<S> {
  const entries = Object.entries(fields as unknown as Record<string, Field<unknown>>);
  const sizes = entries.map(([, f]) => f.size);
  const size = sizes.every(s => s !== undefined) ? sizes.reduce((sum, s) => sum + s, 0) : undefined;
  const self: RecordField<S> = {
    fields,
    size,
    reset: () => Object.fromEntries(entries.map(([name, f]) => [name, f.reset()])) as Values<S>,
    write(w, value) {
      for (const [name, f] of entries) f.write(w, (value as Record<string, unknown>)[name]);
    },
    read(r, version) {
      const out: Record<string, unknown> = {};
      for (const [name, f] of entries) out[name] = named(name, () => f.read(r, version));
      return out as Values<S>;
    },
    encode(value) {
      const w = new Writer(size);
      self.write(w, value);
      return w.done();
    },
    decode(data, version = 0) {
      const r = new Reader(data);
      const value = self.read(r, version);
      r.end();
      return value;
    },
  };
  return self;
}

function named<T>(name: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof VmError) throw error.during(name);
    throw error;
  }
}
