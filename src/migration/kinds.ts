/**
 * The kinds of message of a protocol, declared once each: ordinal, who sends it, body. From such a
 * table follow the union type of its messages, their encoding, the checks of untrusted input, and
 * what each side takes.
 */
import { VmError } from '../base/errors.js';
import { printable } from '../base/printable.js';
import { type Of, type RecordField, record, text } from '../fields/field.js';
import { type FrameKind, encodeFrame } from './frames.js';
import type { MessageCodec } from './link.js';

/** What follows a message's head. decode takes untrusted bytes. */
export interface Body<T extends object> {
  /** At most; exactly, where the frame carries no length (ordinals below 64). */
  readonly bytes: number;
  encode(value: T): Uint8Array;
  decode(body: Buffer): T;
}

interface Declared<Side extends string> {
  readonly ordinal: number;
  /** Who sends it. */
  readonly from: Side | 'both';
  readonly body: Body<object>;
}
type Declarations<Side extends string> = Readonly<Record<string, Declared<Side>>>;

export type MessageKind<Side extends string, N extends string = string> = FrameKind<N> &
  Declared<Side>;
export type KindTable<D> = {
  readonly [N in keyof D & string]: D[N] & FrameKind<N>;
};
/** The union of a table's messages. */
export type MessageOf<D> = {
  [N in keyof D & string]: D[N] extends { readonly body: Body<infer T> } ? { type: N } & T : never;
}[keyof D & string];

export const kind = <const Side extends string, T extends object>(
  ordinal: number,
  from: Side,
  body: Body<T>,
) => ({ ordinal, from, body });

export function kindTable<Side extends string, D extends Declarations<Side>>(
  declared: D,
): KindTable<D> {
  const named = Object.entries(declared).map(([name, its]) => {
    const { bytes } = its.body;
    return [name, { ...its, name, bytes }];
  });
  return Object.fromEntries(named) as KindTable<D>;
}

/** One side takes only what the other may send. */
export function codecOfTable<Side extends string, D>(
  table: KindTable<D> & Readonly<Record<string, MessageKind<Side>>>,
  side: Side,
): MessageCodec<MessageOf<D> & { type: string }> {
  return {
    takes: Object.values<MessageKind<Side>>(table).filter(({ from }) => from !== side),
    encode(message) {
      const its: MessageKind<Side> = table[message.type];
      return encodeFrame(its, its.body.encode(message));
    },
    decode({ name }, body) {
      try {
        return { type: name, ...table[name].body.decode(body) } as MessageOf<D> & { type: string };
      } catch (error) {
        throw error instanceof VmError ? error.during(name) : error;
      }
    },
  };
}

export const noBody: Body<Record<never, never>> = {
  bytes: 0,
  encode: () => Buffer.alloc(0),
  decode: () => ({}),
};

/** bytes: a bound, where the size is not fixed. */
export function fields<S>(its: RecordField<S>, bytes = its.size ?? 0): Body<Of<RecordField<S>>> {
  return { bytes, encode: value => its.encode(value), decode: body => its.decode(body) };
}

/** Bytes as they are. */
export function raw<N extends string>(name: N, bytes: number): Body<Record<N, Buffer>> {
  return {
    bytes,
    encode: value => value[name],
    decode: body => ({ [name]: body }) as Record<N, Buffer>,
  };
}

const WORDS_MAX = 1024;
const words = record({ text: text(WORDS_MAX) });

/** For people; what is too long is cut, and a stranger's words do not steer a terminal. */
export const sentence: Body<{ text: string }> = {
  bytes: WORDS_MAX + 4,
  encode: value => words.encode({ text: value.text.slice(0, WORDS_MAX / 3) }),
  decode: body => ({ text: printable(words.decode(body).text) }),
};
