/**
 * Goal: the wire form of every message stays as it is: a peer or a state file of an older version
 * must be understood. Method: each kind and the bytes of samples of it, against a copy;
 * UPDATE_GOLDEN=1 renews it, and the commit shows what changed.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { type Message, codecOf, messageKinds } from '../../src/colo/messages.js';
import { firstRecord, nextBranch } from '../../src/colo/record.js';
import { type FrameKind, encodeStreamHeader } from '../../src/migration/frames.js';
import type { Hello } from '../../src/migration/manifest.js';
import {
  type TransferMessage,
  transferCodec,
  transferKinds,
} from '../../src/migration/messages.js';

const golden = new URL('wire.txt', import.meta.url);

const hello: Hello = {
  manifest: {
    ramBytes: 2 ** 33,
    cpus: 2,
    cpu: {
      model: 'qemu64',
      vendor: 'AuthenticAMD',
      signature: 0x60fb1,
      features: ['fpu', 'pni'],
      sockets: 1,
      cores: 2,
      threads: 1,
    },
    accel: 'soft',
    devices: [{ id: 'serial0', vmstate: 'serial', version: 1 }],
    disks: [{ id: 'd', length: 2 ** 40 }],
    netdevs: ['n'],
  },
  colo: true,
  leaseMs: 1000,
};
const first = firstRecord('0b4ff9f6-7a05-4d6f-9d0c-0d0c6c1f6a01', 'a'.repeat(32));
const record = nextBranch(first, 'b'.repeat(32));
const epoch = {
  epoch: 7,
  pages: 2 ** 20 + 1,
  writes: [],
  ramHashed: false,
  ramHash: 0n,
  guestOver: false,
};
const bytes = Buffer.from('0001fe', 'hex');

const common = [
  { type: 'hello', hello },
  { type: 'hello', hello: { ...hello, record, syncFrom: 'secondary' } },
  { type: 'hello', hello: { ...hello, packs: true } },
  { type: 'accept' },
  {
    type: 'accept',
    disks: [
      { disk: 'd', record },
      { disk: 'e', record: undefined },
    ],
  },
  { type: 'error', text: 'a text' },
  { type: 'error', text: '\u20ac'.repeat(400) },
  { type: 'pages', body: bytes },
  { type: 'blob', bytes },
  { type: 'round-end' },
] as const satisfies readonly (Message & TransferMessage)[];

const transfer: readonly TransferMessage[] = [
  ...common,
  { type: 'device-state', size: 2 ** 35, pages: 2 ** 34, ran: true },
  { type: 'device-state', size: 0, pages: 1, ran: false },
  ...(['loaded', 'go', 'started'] as const).map(type => ({ type })),
];

const empty = messageKinds.filter(k => k.bytes === 0 && k.name !== 'round-end');
const colo: readonly Message[] = [
  ...common,
  ...empty.map(({ name }) => ({ type: name }) as Message),
  { type: 'vmstate-size', size: 2 ** 35 },
  { type: 'epoch', ...epoch },
  {
    type: 'epoch',
    ...epoch,
    writes: [
      { disk: 'd', count: 5 },
      { disk: '\u20ac', count: 2 ** 40 },
    ],
    ramHashed: true,
    ramHash: 2n ** 64n - 1n,
    guestOver: true,
  },
  { type: 'packed-pages', body: Buffer.from('packed') },
  { type: 'copying', pages: 2 ** 32 - 1 },
  { type: 'heartbeat-key', key: Buffer.alloc(16, 3), ms: 100 },
  { type: 'heartbeat-port', port: 8888, ms: 100 },
  { type: 'heartbeat-interval', ms: 10_000 },
  { type: 'dropped', text: 'its disk is full' },
  { type: 'process', holder: 'boot pid:[1] 7 8' },
  { type: 'ping', seq: 1 },
  { type: 'pong', seq: 2 ** 40 },
  { type: 'leaving', text: 'it was ended' },
  { type: 'hand-over', run: false },
  { type: 'hand-over', run: true },
  { type: 'leave-refused', text: 'no answer' },
  { type: 'ended', text: '\u20ac'.repeat(400) },
  { type: 'digest-request', disk: 'd' },
  { type: 'digest-size', disk: 'd', vouched: true, size: 2 ** 40 },
  { type: 'digest', bytes },
  { type: 'marks', disk: 'd', size: 2 ** 14 },
  { type: 'marks-piece', bytes },
  { type: 'common-point', id: Buffer.alloc(16, 7) },
  { type: 'record', record },
  { type: 'superseded', record },
  { type: 'superseded', record: undefined },
];

interface Told<M> {
  readonly kinds: readonly (FrameKind & { readonly from: string })[];
  readonly samples: readonly M[];
  encode(message: M): Buffer;
}

function lines<M extends { type: string }>({ kinds, samples, encode }: Told<M>): string[] {
  return [...kinds]
    .sort((a, b) => a.ordinal - b.ordinal)
    .flatMap(({ name, ordinal, from, bytes: most }) => {
      const of = samples.filter(({ type }) => type === name);
      expect([name, of.length > 0]).toEqual([name, true]);
      return [
        `${ordinal} ${name}, from ${from}, ${most} bytes`,
        ...of.map(sample => `  ${encode(sample).toString('hex')}`),
      ];
    });
}

test('the wire form of every message is as it was', () => {
  const text = [
    `header ${encodeStreamHeader().toString('hex')}`,
    '',
    'COLO',
    ...lines({ kinds: messageKinds, samples: colo, encode: codecOf('primary').encode }),
    '',
    'migration without COLO',
    ...lines({
      kinds: Object.values(transferKinds),
      samples: transfer,
      encode: transferCodec('source').encode,
    }),
    '',
  ].join('\n');
  if (process.env.UPDATE_GOLDEN === '1') writeFileSync(golden, text);
  expect(text).toBe(readFileSync(golden, 'utf8'));
});
