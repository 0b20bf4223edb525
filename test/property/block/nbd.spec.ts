/**
 * Goal: NBD survives any cutting of its bytes, any truncation and any nonsense: the same requests
 * arrive, errors are VmErrors, nothing else is thrown. Method: the protocol generators fed by
 * fast-check, no socket.
 */
import fc from 'fast-check';
import { VmError } from '../../../src/base/errors.js';
import {
  clientHandshake,
  clientReplies,
  type NbdExportInfo,
} from '../../../src/block/nbd/client-protocol.js';
import * as nbd from '../../../src/block/nbd/codec.js';
import { type Protocol, ProtocolMachine } from '../../../src/block/nbd/machine.js';
import { negotiate, requests } from '../../../src/block/nbd/server-protocol.js';

const MAX = 64 * 1024;
const terms = { maxRequest: MAX, tls: false };
const exported = { name: 'disk', size: 1 << 20, writable: true };

const structuredInfo: NbdExportInfo = {
  size: 1 << 20,
  flags: 1,
  maxTransfer: MAX,
  structured: true,
  allocation: 1,
};

function chunks(data: Buffer, cuts: number[]): Buffer[] {
  const at = [...new Set([0, ...cuts.map(c => c % (data.length + 1)), data.length])].sort(
    (a, b) => a - b,
  );
  return at.slice(1).map((end, i) => data.subarray(at[i], end));
}

/**
 * Runs a protocol over chunks; gives its result and what it sent. A VmError is a result too;
 * anything else fails the test.
 */
function run<R>(
  protocol: Protocol<R>,
  input: Buffer[],
): { result?: R; error?: VmError; sent: Buffer } {
  const sent: Uint8Array[] = [];
  const out: { result?: R; error?: VmError } = {};
  const wrapped = (function* (): Protocol {
    out.result = yield* protocol;
  })();
  const machine = new ProtocolMachine(wrapped, bytes => sent.push(Buffer.from(bytes)));
  try {
    machine.start();
    for (const part of input) machine.feed(part);
  } catch (error) {
    if (!(error instanceof VmError)) throw error;
    out.error = error;
  }
  return { ...out, sent: Buffer.concat(sent) };
}

const cutsArbitrary = fc.array(fc.nat(100_000), { maxLength: 20 });
const flags = nbd.clientFlags.encode({ flags: 3 });
const option = (type: number, data: Uint8Array = Buffer.alloc(0)) => nbd.encodeOption(type, data);
/** What our client says, in one piece. */
const clientSays = Buffer.concat([
  flags,
  option(nbd.NbdOpt.STRUCTURED_REPLY),
  option(nbd.NbdOpt.SET_META_CONTEXT, nbd.encodeMetaQuery('disk', ['base:allocation'])),
  option(nbd.NbdOpt.GO, nbd.encodeGo('disk', [nbd.NbdInfo.BLOCK_SIZE])),
]);
const goDisk = Buffer.concat([
  flags,
  nbd.encodeOption(nbd.NbdOpt.LIST, Buffer.alloc(0)),
  nbd.encodeOption(nbd.NbdOpt.GO, nbd.encodeGo('disk', [nbd.NbdInfo.BLOCK_SIZE])),
]);

test('requests arrive as sent, however they are cut', () => {
  const request = fc.record({
    type: fc.constantFrom(0, 1, 3, 4, 6),
    flags: fc.nat(3),
    offset: fc.nat(2 ** 31),
    length: fc.nat(3000),
  });
  fc.assert(
    fc.property(fc.array(request, { maxLength: 12 }), cutsArbitrary, (list, cuts) => {
      const wire = Buffer.concat(
        list.flatMap((r, i) => [
          nbd.encodeRequest(r.type, r.flags, i + 1, r.offset, r.length),
          r.type === 1 ? Buffer.alloc(r.length, i + 1) : Buffer.alloc(0),
        ]),
      );
      const got: unknown[] = [];
      run(
        requests(MAX, r =>
          got.push({
            type: r.type,
            flags: r.flags,
            offset: r.offset,
            length: r.length,
            cookie: nbd.decodeCookie(r.cookie),
            first: r.data?.[0],
            bytes: r.data?.length,
          }),
        ),
        chunks(wire, cuts),
      );
      expect(got).toEqual(
        list.map((r, i) => ({
          ...r,
          cookie: i + 1,
          first: r.type === 1 && r.length > 0 ? i + 1 : undefined,
          bytes: r.type === 1 ? r.length : undefined,
        })),
      );
    }),
  );
});

test('a write that is too long is thrown away, and the next request is understood', () => {
  fc.assert(
    fc.property(fc.integer({ min: MAX + 1, max: 3 * MAX }), cutsArbitrary, (length, cuts) => {
      const wire = Buffer.concat([
        nbd.encodeRequest(1, 0, 1, 0, length),
        Buffer.alloc(length),
        nbd.encodeRequest(3, 0, 2, 0, 0),
      ]);
      const got: unknown[] = [];
      run(
        requests(MAX, r => got.push([r.type, r.data])),
        chunks(wire, cuts),
      );
      expect(got).toEqual([
        [1, undefined],
        [3, undefined],
      ]);
    }),
    { numRuns: 30 },
  );
});

test('our halves agree, however the bytes are cut', () => {
  fc.assert(
    fc.property(cutsArbitrary, cutsArbitrary, (toServer, toClient) => {
      const server = run(
        negotiate(() => [exported], terms),
        chunks(goDisk, toServer),
      );
      expect(server.result?.chosen).toBe(exported);
      const wire = run(
        negotiate(() => [exported], terms),
        [clientSays],
      ).sent;
      const client = run(
        clientHandshake({ exportName: 'disk', tls: false }),
        chunks(wire, toClient),
      );
      expect(client.error).toBeUndefined();
      expect(client.result).toMatchObject({
        size: exported.size,
        maxTransfer: MAX,
        structured: true,
        allocation: 1,
      });
    }),
  );
});

test('EXPORT_NAME, with and without the 124 zeroes', () => {
  for (const clientFlags of [1, 3]) {
    const wire = Buffer.concat([
      nbd.clientFlags.encode({ flags: clientFlags }),
      nbd.encodeOption(nbd.NbdOpt.EXPORT_NAME, Buffer.from('disk')),
    ]);
    const { result, sent } = run(
      negotiate(() => [exported], terms),
      [wire],
    );
    expect(result?.chosen).toBe(exported);
    expect(sent.length).toBe(18 + 10 + (clientFlags === 1 ? 124 : 0));
  }
});

test('single bytes, and crumbs among big pieces', () => {
  const writes = Array.from({ length: 3 }, (_, i) =>
    Buffer.concat([nbd.encodeRequest(1, 0, i + 1, 0, 20_000), Buffer.alloc(20_000, i + 1)]),
  );
  const wire = Buffer.concat(writes);
  for (const sizes of [[1], [1, 5000, 3, 700, 1025], [1024, 1]]) {
    const input: Buffer[] = [];
    for (let at = 0, n = 0; at < wire.length; at += sizes[n++ % sizes.length])
      input.push(wire.subarray(at, at + sizes[n % sizes.length]));
    const got: boolean[] = [];
    run(
      requests(MAX, r =>
        got.push(r.data!.equals(Buffer.alloc(20_000, nbd.decodeCookie(r.cookie)))),
      ),
      input,
    );
    expect(got).toEqual([true, true, true]);
  }
});

test('truncation anywhere is waiting, never a crash', () => {
  for (let n = 0; n < goDisk.length; n++) {
    const { result, error } = run(
      negotiate(() => [exported], terms),
      [goDisk.subarray(0, n)],
    );
    expect({ n, result, error }).toEqual({ n, result: undefined, error: undefined });
  }
});

test('one byte changed in the negotiation: an answer or a VmError', () => {
  fc.assert(
    fc.property(fc.nat(goDisk.length - 1), fc.nat(255), (at, value) => {
      const wire = Buffer.from(goDisk);
      wire[at] = value;
      run(
        negotiate(() => [exported], terms),
        [wire],
      );
    }),
    { numRuns: 500 },
  );
});

test('nonsense to either half: an answer or a VmError', () => {
  const greeting = run(
    negotiate(() => [exported], terms),
    [],
  ).sent;
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), cutsArbitrary, (noise, cuts) => {
      const bytes = Buffer.from(noise);
      run(
        negotiate(() => [exported], terms),
        chunks(Buffer.concat([flags, bytes]), cuts),
      );
      run(
        requests(MAX, () => undefined),
        chunks(bytes, cuts),
      );
      run(
        clientHandshake({ exportName: 'disk', tls: false }),
        chunks(Buffer.concat([greeting, bytes]), cuts),
      );
      run(
        clientReplies(() => structuredInfo, { expected: () => undefined, settle: () => undefined }),
        chunks(bytes, cuts),
      );
    }),
    { numRuns: 300 },
  );
});

describe('replies in chunks, from a server that may say anything', () => {
  const cookie = nbd.encodeCookie(7);
  const reply = (parts: Uint8Array[], type: number = nbd.NbdCmd.READ, length = 4096) => {
    const settled: unknown[] = [];
    const sink = {
      expected: (n: number) =>
        n === 7 && settled.length === 0 ? { type, offset: 8192, length } : undefined,
      settle: (_n: number, result: unknown) => settled.push(result),
    };
    return {
      error: run(
        clientReplies(() => structuredInfo, sink),
        chunks(Buffer.concat(parts), []),
      ).error?.message,
      settled,
    };
  };
  const at = nbd.encodeOffset;
  const data = (offset: number, length: number, last = false) =>
    Buffer.concat(
      nbd.encodeReplyChunk(
        cookie,
        nbd.ChunkType.OFFSET_DATA,
        [at(offset), Buffer.alloc(length, 5)],
        last,
      ),
    );
  const hole = (offset: number, length: number, last = false) => {
    const size = Buffer.alloc(4);
    size.writeUInt32BE(length);
    return Buffer.concat(
      nbd.encodeReplyChunk(cookie, nbd.ChunkType.OFFSET_HOLE, [at(offset), size], last),
    );
  };

  test('data and holes in any order make the whole', () => {
    const { settled } = reply([data(8192 + 2048, 2048), hole(8192, 2048, true)]);
    expect(settled).toEqual([{ data: Buffer.concat([Buffer.alloc(2048), Buffer.alloc(2048, 5)]) }]);
  });

  test.each<[string, Uint8Array[], number, string]>([
    [
      'outside, before',
      [data(8000, 512)],
      0,
      'chunk of 512 bytes at 8000 is outside of what was asked',
    ],
    ['outside, behind', [data(8192, 8192)], 0, 'chunk of data with 8200 bytes, which cannot be'],
    ['a hole behind', [hole(8192, 8192)], 0, 'outside of what was asked'],
    ['twice the same', [data(8192, 512), data(8192, 512)], 0, 'overlaps another'],
    ['too little', [data(8192, 512, true)], 0, 'reply has 512 bytes of 4096'],
    [
      'nothing',
      nbd.encodeReplyChunk(cookie, nbd.ChunkType.NONE, []),
      0,
      'reply has 0 bytes of 4096',
    ],
    [
      'an empty chunk in the middle',
      nbd.encodeReplyChunk(cookie, nbd.ChunkType.NONE, [], false),
      0,
      'empty chunk that is not the last',
    ],
    [
      'an error that is none',
      nbd.encodeReplyChunk(cookie, nbd.ChunkType.ERROR, [Buffer.alloc(6)]),
      0,
      'error chunk (type 32769) that is malformed',
    ],
    [
      'an error with half a message',
      nbd.encodeReplyChunk(cookie, nbd.ChunkType.ERROR, [Buffer.from([0, 0, 0, 5, 0, 9, 65])]),
      0,
      'malformed',
    ],
    ['an unknown chunk', nbd.encodeReplyChunk(cookie, 77, []), 0, 'chunk of type 77'],
    [
      'data to a block status',
      [data(8192, 512)],
      nbd.NbdCmd.BLOCK_STATUS,
      'does not answer request type 7',
    ],
    [
      'another context',
      nbd.encodeReplyChunk(cookie, nbd.ChunkType.BLOCK_STATUS, [Buffer.alloc(12, 2)]),
      nbd.NbdCmd.BLOCK_STATUS,
      'status of context 33686018',
    ],
    [
      'no bytes',
      nbd.encodeReplyChunk(cookie, nbd.ChunkType.BLOCK_STATUS, [
        Buffer.from([0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
      ]),
      nbd.NbdCmd.BLOCK_STATUS,
      'status of no bytes',
    ],
    [
      'a simple reply',
      [nbd.encodeSimpleReply(cookie, 0)],
      0,
      'simple reply where a structured one was agreed',
    ],
    ['another magic', [Buffer.alloc(16, 0x11)], 0, '0x11111111 where a reply must begin'],
    [
      'after its end',
      [data(8192, 4096, true), data(8192, 4096, true)],
      0,
      'answers a request that was not made',
    ],
  ])('%s is named', (_what, parts, type, message) => {
    expect(reply(parts, type).error).toContain(message);
  });

  test(
    'a reply in thousands of pieces out of order costs no more than a few; in order there may ' +
      'be many',
    () => {
      const pieces = Array.from({ length: 4096 }, (_, n) => data(8192 + n, 1));
      expect(reply(pieces.filter((_, n) => n % 2 === 0)).error).toContain(
        'more than 1024 pieces that do not touch',
      );
      expect(reply([...pieces.slice(0, -1), data(8192 + 4095, 1, true)]).settled).toEqual([
        { data: Buffer.alloc(4096, 5) },
      ]);
    },
  );

  test('an error chunk among data is the result, with its words', () => {
    const { settled } = reply([data(8192, 512), ...nbd.encodeErrorChunk(cookie, 28, 'no room')]);
    expect(settled).toEqual([{ errno: 28, said: 'no room' }]);
  });

  test('one byte changed anywhere: a result, a wait or a VmError', () => {
    const wire = Buffer.concat([hole(8192, 1024), data(9216, 3072, true)]);
    fc.assert(
      fc.property(fc.nat(wire.length - 1), fc.nat(255), (where, value) => {
        const bad = Buffer.from(wire);
        bad[where] = value;
        reply([bad]);
      }),
      { numRuns: 500 },
    );
  });
});

test('the data of GO round-trips, and its truncations are refused', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme', maxLength: 40 }),
      fc.array(fc.nat(65535), { maxLength: 8 }),
      (name, wanted) => {
        const data = nbd.encodeGo(name, wanted);
        expect(nbd.decodeGo(data)).toEqual({ name: Buffer.from(name).toString(), wanted });
        for (let n = 0; n < data.length; n++)
          expect(nbd.decodeGo(data.subarray(0, n))).toBeUndefined();
      },
    ),
    { numRuns: 50 },
  );
});
