/**
 * Goal: QEMU's ordinals, names and framing stand as they are; every message round-trips; each side
 * takes only what the other may send.
 */
import fc from 'fast-check';
import { type Message, codecOf, messageKinds } from '../../../src/colo/messages.js';
import { firstRecord, nextBranch } from '../../../src/colo/record.js';
import { coloSteps } from '../../../src/colo/steps.js';
import { FrameDecoder, type FrameKind, encodeStreamHeader } from '../../../src/migration/frames.js';
import { coloMessages } from '../../../src/qapi/types.js';

const manifest = {
  ramBytes: 1,
  cpus: 1,
  cpu: {
    model: 'fake',
    vendor: 'AuthenticAMD',
    signature: 0x60fb1,
    features: ['fpu'],
    sockets: 1,
    cores: 1,
    threads: 1,
  },
  accel: 'soft',
  devices: [],
  disks: [],
  netdevs: [],
};
const record = nextBranch(
  firstRecord('0b4ff9f6-7a05-4d6f-9d0c-0d0c6c1f6a01', 'a'.repeat(32)),
  'b'.repeat(32),
);
const messages: Message[] = [
  ...messageKinds.filter(k => k.bytes === 0).map(k => ({ type: k.name }) as Message),
  { type: 'vmstate-size', size: 123456789012 },
  { type: 'hello', hello: { manifest, colo: true, leaseMs: 1000 } },
  { type: 'hello', hello: { manifest, colo: true, leaseMs: 1000, record, syncFrom: 'secondary' } },
  { type: 'error', text: 'the disk is full' },
  { type: 'pages', body: Buffer.from('pages') },
  {
    type: 'epoch',
    epoch: 7,
    pages: 3,
    writes: [{ disk: 'd', count: 5 }],
    ramHashed: true,
    ramHash: 0xffff_ffff_ffff_ffffn,
    guestOver: true,
  },
  { type: 'blob', bytes: Buffer.from('blob') },
  { type: 'packed-pages', body: Buffer.from('packed') },
  { type: 'copying', pages: 2 ** 20 },
  { type: 'ping', seq: 9 },
  { type: 'pong', seq: 9 },
  { type: 'digest-request', disk: 'd' },
  { type: 'leaving', text: 'it was ended' },
  { type: 'hand-over', run: false },
  { type: 'leave-request' },
  { type: 'leave-refused', text: 'the arbiter has not answered' },
  { type: 'ended', text: 'it was ended' },
  { type: 'digest-size', disk: 'd', vouched: false, size: 16 },
  { type: 'digest', bytes: Buffer.alloc(16) },
  {
    type: 'accept',
    disks: [
      { disk: 'd', record },
      { disk: 'e', record: undefined },
      { disk: 'f', record, bitmap: { bases: ['c'.repeat(32)] } },
      { disk: 'g', record, bitmap: { why: 'the image has no bitmap' } },
    ],
  },
  { type: 'heartbeat-key', key: Buffer.alloc(16, 3), ms: 100 },
  { type: 'heartbeat-port', port: 8888, ms: 100 },
  { type: 'heartbeat-interval', ms: 10_000 },
  { type: 'dropped', text: 'its disk is full' },
  { type: 'process', holder: 'boot pid:[1] 7 8' },
  { type: 'marks', disk: 'd', size: 16 },
  { type: 'marks-piece', bytes: Buffer.alloc(16) },
  { type: 'common-point', id: Buffer.alloc(16, 7) },
  { type: 'record', record },
  { type: 'superseded', record },
  { type: 'superseded', record: undefined },
];

function decodeAt(side: 'primary' | 'secondary', data: Buffer): Message[] {
  const codec = codecOf(side);
  const out: Message[] = [];
  new FrameDecoder<FrameKind>(codec.takes, (kind, body) => out.push(codec.decode(kind, body))).push(
    Buffer.concat([encodeStreamHeader(), data]),
  );
  return out;
}

it("keeps QEMU's words and numbers", () => {
  expect(messageKinds.filter(k => k.ordinal < 64).map(k => k.name)).toEqual([...coloMessages]);
  expect(messageKinds.filter(k => k.ordinal < 64).map(k => k.ordinal)).toEqual([
    0, 1, 2, 3, 4, 5, 6, 7,
  ]);
  const { encode } = codecOf('primary');
  expect(encode({ type: 'checkpoint-request' }).toString('hex')).toBe('00000001');
  expect(encode({ type: 'vmstate-size', size: 0x1234 }).toString('hex')).toBe(
    '000000040000000000001234',
  );
});

it('carries every message, and only in its direction', () => {
  expect(new Set(messages.map(m => m.type)).size).toBe(messageKinds.length);
  for (const message of messages) {
    const { from } = messageKinds.find(k => k.name === message.type)!;
    const data = codecOf(from === 'both' ? 'primary' : from).encode(message);
    if (from !== 'secondary') expect(decodeAt('secondary', data)).toEqual([message]);
    else expect(() => decodeAt('secondary', data)).toThrow('none that this side takes');
    if (from !== 'primary') expect(decodeAt('primary', data)).toEqual([message]);
    else expect(() => decodeAt('primary', data)).toThrow('none that this side takes');
  }
});

it.each(['error', 'leaving'] as const)('cuts a text of %s that is too long', type => {
  const [message] = decodeAt(
    'primary',
    codecOf('secondary').encode({ type, text: '\u20ac'.repeat(5000) }),
  );
  expect(message.type === type && message.text.length).toBe(341);
});

it('gives a sentence for any garbage in any body', () => {
  for (const { name, ordinal, bytes } of messageKinds) {
    const codec = codecOf('primary');
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: Math.min(bytes, 200) }), body => {
        if (ordinal < 64 && body.length !== bytes) return;
        try {
          codec.decode({ name, ordinal, bytes }, Buffer.from(body));
        } catch (error) {
          expect((error as Error).name).toBe('VmError');
        }
      }),
      { numRuns: 30 },
    );
  }
});

it('lists each step once', () => {
  expect(new Set(coloSteps).size).toBe(coloSteps.length);
});
