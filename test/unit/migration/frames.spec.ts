/**
 * Goal: frames survive any chunking, and nothing unsound gets through. Method: fast-check over
 * messages, cuts and damage.
 */
import fc from 'fast-check';
import {
  FrameDecoder,
  type FrameKind,
  encodeFrame,
  encodeStreamHeader,
} from '../../../src/migration/frames.js';

const kinds: FrameKind[] = [
  { name: 'bare', ordinal: 1, bytes: 0 },
  { name: 'bare-size', ordinal: 4, bytes: 8 },
  { name: 'own', ordinal: 70, bytes: 300 },
];
type Frame = { kind: FrameKind; body: Buffer };

const frame = fc.oneof(
  fc.constant<Frame>({ kind: kinds[0], body: Buffer.alloc(0) }),
  fc
    .uint8Array({ minLength: 8, maxLength: 8 })
    .map((b): Frame => ({ kind: kinds[1], body: Buffer.from(b) })),
  fc.uint8Array({ maxLength: 300 }).map((b): Frame => ({ kind: kinds[2], body: Buffer.from(b) })),
);
const wire = (frames: Frame[]) =>
  Buffer.concat([encodeStreamHeader(), ...frames.map(f => encodeFrame(f.kind, f.body))]);

function decode(pieces: Uint8Array[]): { out: Frame[]; decoder: FrameDecoder<FrameKind> } {
  const out: Frame[] = [];
  const decoder = new FrameDecoder(kinds, (kind, body) => out.push({ kind, body }));
  for (const piece of pieces) decoder.push(piece);
  return { out, decoder };
}
function cut(data: Buffer, at: number[]): Buffer[] {
  const places = [0, ...at.map(a => a % (data.length + 1)).sort((a, b) => a - b), data.length];
  return places.slice(1).map((end, i) => data.subarray(places[i], end));
}

it('gives the same frames whatever the pieces', () => {
  fc.assert(
    fc.property(
      fc.array(frame, { maxLength: 8 }),
      fc.array(fc.nat(4000), { maxLength: 12 }),
      (frames, cuts) => {
        const { out, decoder } = decode(cut(wire(frames), cuts));
        expect(out).toEqual(frames);
        expect(decoder.whole).toBe(true);
      },
    ),
  );
});

it('knows that a truncated stream is not whole, and delivers no part of a frame', () => {
  fc.assert(
    fc.property(fc.array(frame, { minLength: 1, maxLength: 5 }), fc.nat(4000), (frames, n) => {
      const data = wire(frames);
      const { out } = decode([data.subarray(0, n % data.length)]);
      expect(frames.slice(0, out.length)).toEqual(out);
      expect(out.length).toBeLessThan(frames.length);
    }),
  );
});

it('refuses a damaged body of ours', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 300 }),
      fc.nat(),
      fc.integer({ min: 0, max: 7 }),
      (body, at, bit) => {
        const data = wire([{ kind: kinds[2], body: Buffer.from(body) }]);
        data[data.length - 1 - (at % body.length)] ^= 1 << bit;
        expect(() => decode([data])).toThrow('own: the checksum is wrong');
      },
    ),
  );
});

it('refuses other programs, other versions, unknown messages and too long ones', () => {
  expect(() => decode([Buffer.from('GET / HTTP/1.1\r\n')])).toThrow(
    'this is not a colo migration stream',
  );
  const newer = encodeStreamHeader();
  newer.writeUInt32BE(9, 8);
  expect(() => decode([newer])).toThrow(
    'the peer speaks version 9 of the migration stream, this side version 2',
  );
  const unknown = Buffer.alloc(4);
  unknown.writeUInt32BE(33);
  expect(() => decode([encodeStreamHeader(), unknown])).toThrow(
    'message 33 is none that this side takes',
  );
  const large = encodeFrame(kinds[2], Buffer.alloc(10));
  large.writeUInt32BE(0xffff_ffff, 4);
  expect(() => decode([encodeStreamHeader(), large])).toThrow(
    'own with 4294967295 bytes, at most 300 allowed',
  );
});
