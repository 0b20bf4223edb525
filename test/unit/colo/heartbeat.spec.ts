/**
 * Goal: silence ends a pair, slowness does not, and no message waits for ever. Method: a side's
 * link to a peer that answers and takes bytes when told, signs of life beside it that are heard
 * when told, with a clock that moves when told.
 */
import { PrimaryHeartbeat, SecondaryHeartbeat } from '../../../src/colo/heartbeat.js';
import { type Message, codecOf } from '../../../src/colo/messages.js';
import { VmError } from '../../../src/base/errors.js';
import type { Heartbeat, HeartbeatOptions, Stream } from '../../../src/host/ports.js';
import { encodeStreamHeader } from '../../../src/migration/frames.js';
import { Link } from '../../../src/migration/link.js';
import { ManualClock } from '../../support/block-host.js';

const sendLimitMs = 30_000;
const silence = (ms: number) => `no sign of life from the peer for ${ms} ms`;

/** Signs beside the connection that are heard when the test says so. */
class Beside implements Heartbeat {
  readonly port = 5;
  readonly done: string[] = [];
  silentMs: number | undefined;

  constructor(readonly options: HeartbeatOptions) {}
  aim = (port: number) => void this.done.push(`aim ${port}`);
  turned = (ms = 0) => void (ms > 0 && this.done.push(`busy ${ms}`));
  setInterval = (ms: number) => void this.done.push(`every ${ms}`);
  dispose = () => void this.done.push('over');
}

class Peer {
  readonly clock = new ManualClock();
  readonly link: Link<Message>;
  readonly lines: string[] = [];
  readonly sent: Message[] = [];
  readonly heartbeat: PrimaryHeartbeat;
  readonly times = { heartbeatMs: 200, peerTimeoutMs: 1000, loopLimitMs: 5000 };
  beats: Beside | undefined;
  private readonly waiting: (() => void)[] = [];
  private say: (bytes: Uint8Array) => void = () => undefined;

  constructor(open?: (options: HeartbeatOptions) => Beside) {
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
      heartbeat: open && ((options: HeartbeatOptions) => (this.beats = open(options))),
    };
    this.link = new Link<Message>(stream as unknown as Stream, this.clock, codecOf('primary'));
    this.link.urgent = ({ type }) => type === 'pong';
    this.link.onMessage = (direction, message) =>
      void (direction === 'sent' && message.type !== 'ping' && this.sent.push(message));
    this.link.sendLimitMs = sendLimitMs;
    this.say(encodeStreamHeader());
    const report = (line: string) => void this.lines.push(line);
    this.heartbeat = new PrimaryHeartbeat(this.link, this.clock, this.times, report);
    this.heartbeat.start();
    this.heartbeat.beside({ fill: bytes => bytes.fill(7) });
  }

  static withBeats(): Peer {
    return new Peer(options => new Beside(options));
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
  const last = expect(peer.send()).rejects.toThrow(silence(5000));
  await peer.clock.advance(5400);
  await last;
});

test('pings that the kernel takes are no sign of life', async () => {
  const peer = new Peer();
  await peer.clock.advance(4800);
  expect(peer.link.failed).toBeUndefined();
  await peer.clock.advance(400);
  expect(peer.link.failed?.message).toBe(silence(5000));
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

test('where signs come beside the connection, both silent for the time-out are a loss', async () => {
  const peer = Peer.withBeats();
  peer.heartbeat.hear({ type: 'heartbeat-port', port: 77, ms: 200 });
  peer.beats!.silentMs = 0;
  await peer.clock.advance(4000);
  expect(peer.link.failed).toBeUndefined(); // the peer collects garbage, for four seconds
  peer.answer();
  await peer.clock.advance(200);
  peer.beats!.silentMs = 1000;
  await peer.clock.advance(600);
  expect(peer.link.failed).toBeUndefined(); // its last answer is younger than that
  await peer.clock.advance(400);
  expect(peer.link.failed?.message).toBe(silence(1000));
  expect(peer.beats!.done).toEqual(['aim 77', 'over']);
  expect(peer.lines).toEqual([]);
});

test('a process that lives, and whose main loop says nothing, is lost at the limit of that', async () => {
  const peer = Peer.withBeats();
  peer.beats!.silentMs = 0;
  await peer.clock.advance(4800);
  expect(peer.link.failed).toBeUndefined();
  await peer.clock.advance(200);
  expect(peer.link.failed?.message).toBe('the peer lives, and has said nothing for 5000 ms');
});

test('signs that stop on their way, while messages arrive, are told of and lose nobody', async () => {
  const peer = Peer.withBeats();
  peer.beats!.silentMs = 2000;
  peer.answer();
  await peer.clock.advance(200);
  await peer.clock.advance(4600);
  expect(peer.link.failed).toBeUndefined();
  expect(peer.lines).toEqual([
    'COLO: heartbeats of the peer do not arrive any more (UDP), its messages do: ' +
      'a silent peer is lost after 5000 ms',
  ]);
  peer.beats!.silentMs = 0; // they come again, and count again
  await peer.clock.advance(200);
  peer.beats!.silentMs = 1000;
  await peer.clock.advance(200);
  expect(peer.link.failed?.message).toMatch(/^no sign of life/);
});

test('a host that lets none be heard is told of, and the connection is watched', async () => {
  const peer = new Peer(() => {
    throw new VmError('no heartbeats at 10.0.0.1: Address already in use');
  });
  expect(peer.lines).toEqual([
    'COLO: no heartbeats at 10.0.0.1: Address already in use: ' +
      'a silent peer is lost after 5000 ms',
  ]);
  expect(peer.sent).toEqual([]);
  await peer.clock.advance(5000);
  expect(peer.link.failed?.message).toBe(silence(5000));
});

test('the time-out is never less than three intervals of the peer', async () => {
  const peer = Peer.withBeats();
  peer.heartbeat.hear({ type: 'heartbeat-interval', ms: 400 });
  expect(peer.lines).toEqual([
    'x-heartbeat-timeout 1000: the peer shows its life every 400 ms, so it is 1200 ms here',
  ]);
  peer.beats!.silentMs = 1199;
  await peer.clock.advance(1400);
  expect(peer.link.failed).toBeUndefined();
  peer.beats!.silentMs = 1200;
  await peer.clock.advance(200);
  expect(peer.link.failed?.message).toBe(silence(1200));
});

test('a changed interval is followed at once, here and on the other side', async () => {
  const peer = Peer.withBeats();
  peer.times.heartbeatMs = 50;
  await peer.clock.advance(200);
  peer.heartbeat.busy(700);
  expect(peer.beats!.done).toEqual(['every 50', 'busy 700']);
  expect(peer.sent).toEqual([
    { type: 'heartbeat-key', key: Buffer.alloc(16, 7), ms: 200 },
    { type: 'heartbeat-interval', ms: 50 },
  ]);
});

test('the secondary opens one for its first key, and none once it proves nothing', async () => {
  const opened: Beside[] = [];
  const clock = new ManualClock();
  const sent: Message[] = [];
  const link = {
    post: (message: Message) => sent.push(message),
    heartbeat: (options: HeartbeatOptions) => {
      opened.push(new Beside(options));
      return opened.at(-1);
    },
  };
  const times = { heartbeatMs: 200, peerTimeoutMs: 1000, loopLimitMs: 5000 };
  const secondary = new SecondaryHeartbeat(link as unknown as Link<Message>, clock, times);
  const hear = (n: number) =>
    secondary.hear({ type: 'heartbeat-key', key: Buffer.alloc(16, n), ms: 200 });
  hear(9); // of a stranger
  expect(opened).toEqual([]);
  secondary.start();
  hear(1);
  hear(2);
  expect(sent).toEqual([{ type: 'heartbeat-port', port: 5, ms: 200 }]);
  expect(opened.map(({ options }) => options)).toEqual([
    { key: Buffer.alloc(16, 1), caller: false, intervalMs: 200, loopLimitMs: 5000 },
  ]);
  secondary.silence();
  hear(3);
  expect([opened.length, opened[0].done]).toEqual([1, ['over']]);
});

test('a peer that shows its life too rarely for the time-out is told of once, a stranger never', () => {
  const lines: string[] = [];
  const times = { heartbeatMs: 200, peerTimeoutMs: 1000, loopLimitMs: 5000 };
  const link = { post: () => undefined } as unknown as Link<Message>;
  const secondary = new SecondaryHeartbeat(link, new ManualClock(), times, line =>
    lines.push(line),
  );
  const hear = (ms: number) => secondary.hear({ type: 'heartbeat-interval', ms });
  hear(2000);
  expect(lines).toEqual([]);
  secondary.start();
  for (const ms of [2000, 2500, 100, 3000]) hear(ms);
  expect(lines.map(line => /every (\d+) ms/.exec(line)?.[1])).toEqual(['2000', '3000']);
  secondary.stop();
});
