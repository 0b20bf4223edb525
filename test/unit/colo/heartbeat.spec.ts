/**
 * Goal: silence ends a pair, slowness does not, and no message waits for ever. Method: a primary's
 * link to a peer that answers and takes bytes when told, with a clock that moves when told.
 */
import { PrimaryHeartbeat } from '../../../src/colo/heartbeat.js';
import { type Message, codecOf } from '../../../src/colo/messages.js';
import type { Stream } from '../../../src/host/ports.js';
import { encodeHeader } from '../../../src/migration/frames.js';
import { Link } from '../../../src/migration/link.js';
import { ManualClock } from '../../support/block-host.js';

const times = { heartbeatMs: 200, peerTimeoutMs: 5000 };
const sendLimitMs = 30_000;
const silence = 'no sign of life from the peer for 5000 ms';

class Peer {
  readonly clock = new ManualClock();
  readonly link: Link<Message>;
  private readonly waiting: (() => void)[] = [];
  private say: (bytes: Uint8Array) => void = () => undefined;

  constructor() {
    const stream = {
      peer: 'S',
      // What is small finds room in the queue of the kernel.
      write: (bytes: Uint8Array) =>
        bytes.length < 1000
          ? Promise.resolve()
          : new Promise<void>(resolve => this.waiting.push(resolve)),
      onData: (fn: (bytes: Uint8Array) => void) => (this.say = fn),
      onEnd: () => undefined,
      resume: () => undefined,
    };
    this.link = new Link<Message>(stream as unknown as Stream, this.clock, codecOf('primary'));
    this.link.urgent = ({ type }) => type === 'pong';
    this.link.sendLimitMs = sendLimitMs;
    this.say(encodeHeader());
    new PrimaryHeartbeat(this.link, this.clock, times).start();
  }

  /** RAM is sent; resolves when it is under way. */
  send(): Promise<void> {
    return this.link.send({ type: 'pages', body: Buffer.alloc(100_000) });
  }

  take(): void {
    this.waiting.shift()?.();
  }

  answer(): void {
    this.say(codecOf('secondary').encode({ type: 'pong', seq: 1 }));
  }
}

test('answers that wait behind RAM on a slow link are no silence', async () => {
  const peer = new Peer();
  for (let chunk = 0; chunk < 10; chunk++) {
    const sent = peer.send();
    await peer.clock.advance(4000);
    peer.take();
    await sent;
  }
  expect(peer.link.failed).toBeUndefined();
  const last = expect(peer.send()).rejects.toThrow(silence);
  await peer.clock.advance(5400);
  await last;
});

test('pings that the kernel takes are no sign of life', async () => {
  const peer = new Peer();
  await peer.clock.advance(4800);
  expect(peer.link.failed).toBeUndefined();
  await peer.clock.advance(400);
  expect(peer.link.failed?.message).toBe(silence);
});

test('a peer that answers and takes nothing is lost, too', async () => {
  const peer = new Peer();
  const sentence = 'sending pages: nothing within 30000 ms';
  const sent = expect(peer.send()).rejects.toThrow(sentence);
  for (let ms = 0; ms < sendLimitMs; ms += 200) {
    peer.answer();
    await peer.clock.advance(200);
  }
  await sent;
  expect(peer.link.failed?.message).toBe(sentence);
});
